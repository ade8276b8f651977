"""Headless Chromium over its debugging pipe: a page that a test can load, click, type into, read and photograph."""
import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_browser():
    """Path of a Chromium on this machine; IIDM_BROWSER names another one. None where there is none."""
    return os.environ.get("IIDM_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One page. JSON messages end with a zero byte; the browser reads them at descriptor 3 and writes at 4."""

    def __init__(self, width=1440, height=900, dark=False, extra=()):
        self.profile = tempfile.mkdtemp(prefix="studio-browser-")
        theirs_in, self.out = os.pipe()
        self.inlet, theirs_out = os.pipe()
        command = [find_browser(), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                   "--no-first-run", "--disable-background-networking", "--disable-extensions", "--hide-scrollbars",
                   "--remote-debugging-pipe", f"--user-data-dir={self.profile}", f"--window-size={width},{height}", *extra]
        shell = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self.process = subprocess.Popen(["bash", "-c", shell, "bash", *command], pass_fds=(theirs_in, theirs_out),
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        os.close(theirs_in)
        os.close(theirs_out)
        self.buffer, self.number, self.events, self.session = b"", 0, [], None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.resize(width, height)
        self.dark(dark)

    def call(self, method, **params):
        """Sends a command and returns its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session and not method.startswith("Target."):
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            found = self.message(30)
            if found.get("id") == self.number:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']['message']}")
                return found["result"]
            self.events.append(found)

    def message(self, seconds):
        end = time.monotonic() + seconds
        while b"\0" not in self.buffer:
            if not select.select([self.inlet], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError(f"the browser said nothing for {seconds} s")
            data = os.read(self.inlet, 1 << 20)
            if not data:
                raise RuntimeError("the browser ended")
            self.buffer += data
        text, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(text)

    def run(self, code):
        """The value of a JavaScript expression; promises are awaited, exceptions raised."""
        found = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"].get("exception", {}).get("description", "exception"))
        return found["result"].get("value")

    def until(self, code, seconds=30):
        """Waits for an expression to be true and returns its value."""
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(RuntimeError):                    # the page is being replaced
                value = self.run(code)
                if value:
                    return value
            if time.monotonic() > end:
                raise AssertionError(f"not true after {seconds} s: {code}")
            time.sleep(0.03)

    def open(self, address, ready="document.body && document.body.dataset.ready"):
        """Loads a page and waits until it is ready."""
        self.call("Page.navigate", url=address)
        self.until(ready)

    def resize(self, width, height, ratio=1):
        """Sets the size of the window."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=ratio, mobile=False)

    def dark(self, on):
        """Sets what the system prefers."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if on else "light"}])

    def mouse(self, kind, x, y, button="left", modifiers=0):
        """kind: pressed, moved or released."""
        held = {"left": 1, "right": 2, "none": 0}[button]
        self.call("Input.dispatchMouseEvent", type=f"mouse{kind.capitalize()}", x=x, y=y, button=button, modifiers=modifiers,
                  buttons=0 if kind == "released" else held, clickCount=int(kind != "moved"))

    def drag(self, points, button="left"):
        """A stroke through points of the window."""
        self.mouse("moved", *points[0], button="none")
        self.mouse("pressed", *points[0], button=button)
        for point in points[1:]:
            self.mouse("moved", *point, button=button)
        self.mouse("released", *points[-1], button=button)

    def click(self, selector):
        """Clicks the middle of an element."""
        self.drag([self.middle(selector)])

    def middle(self, selector):
        """The middle of an element, in the window, scrolled to."""
        return self.run(f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
                        "e.scrollIntoView({block: 'nearest'}); const b = e.getBoundingClientRect();"
                        "return [b.x + b.width / 2, b.y + b.height / 2]; })()")

    def key(self, key, modifiers=0):
        """Presses a key; modifiers: 1 Alt, 2 Ctrl, 8 Shift."""
        code = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Enter": 13, "Escape": 27, "Tab": 9, " ": 32}
        number = code.get(key, ord(key[0].upper()))
        text = {} if len(key) > 1 or modifiers & 2 else {"text": key}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, modifiers=modifiers, windowsVirtualKeyCode=number, **text)

    def files(self, selector, *paths):
        """Gives files to a file input."""
        node = self.call("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")["result"]["objectId"]
        self.call("DOM.setFileInputFiles", objectId=node, files=[str(path) for path in paths])

    def photograph(self, path):
        """Writes what the window shows as a PNG."""
        with open(path, "wb") as stream:
            stream.write(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def complaints(self):
        """Errors that the console has shown so far."""
        self.run("0")
        found = []
        for event in self.events:
            params = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(params["exceptionDetails"].get("exception", {}).get("description", str(params)))
            if event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
                found.append(params["entry"]["text"] + " " + params["entry"].get("url", ""))
        return found

    def close(self):
        """Ends the browser."""
        with contextlib.suppress(Exception):
            self.session = None
            self.call("Browser.close")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(5)
        for handle in (self.out, self.inlet):
            with contextlib.suppress(OSError):
                os.close(handle)
        shutil.rmtree(self.profile, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()
