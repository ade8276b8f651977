"""The server without a browser: what it serves, what it refuses, and that it lives on after requests meant to hurt it."""
import base64
import http.client
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="the studio needs requirements-studio.txt")
pytest.importorskip("uvicorn", reason="the studio needs requirements-studio.txt")

from runtime.errors import UserError  # noqa: E402
from runtime.pictures import PALETTE  # noqa: E402
from studio import __main__ as script  # noqa: E402
from studio.server import STATIC  # noqa: E402
from tests.helpers import ROOT  # noqa: E402
from tests.studio.fake import FakePainter, Running, grey_png  # noqa: E402

HEIGHT, WIDTH = 48, 64
IDS = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % 29


@pytest.fixture(scope="module")
def at(tmp_path_factory):
    """A running server with a painter that needs no networks."""
    with Running(FakePainter(HEIGHT, WIDTH, steps=4), tmp_path_factory.mktemp("results")) as running:
        yield running


def ask(at, method, path, body=None, kind=None, **headers):
    """(status, headers, body) of a request; keyword arguments are headers, _ for -."""
    connection = http.client.HTTPConnection("127.0.0.1", at.port, timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if kind:
        named["Content-Type"] = kind
    try:
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def says(at, *request, **headers):
    """(status, the one line) of a refusal."""
    status, _, body = ask(at, *request, **headers)
    error = json.loads(body)["error"]
    assert "\n" not in error and "Traceback" not in error and "/work" not in error
    return status, error


def a_style(at):
    return json.loads(ask(at, "GET", "/api/studio")[2])["styles"][0]["id"]


def wish(at, **options):
    """The body of a painting."""
    return json.dumps({"mask": base64.b64encode(grey_png(IDS)).decode(), "style": a_style(at), "preset": "fast", **options})


def begin(at, **options):
    """The id of a painting that the server took."""
    status, _, body = ask(at, "POST", "/api/jobs", wish(at, **options), "application/json")
    assert status == 202, body
    return json.loads(body)["id"]


def events(at, job):
    """[(kind, data)] until the painting ends."""
    text = ask(at, "GET", f"/api/jobs/{job}/events")[2].decode()
    return [(kind, json.loads(data)) for kind, data in re.findall(r"event: (\w+)\ndata: (.*)\n", text)]


def picture_bytes(width, height, format="PNG"):
    file = io.BytesIO()
    Image.effect_noise((width, height), 60).convert("RGB").save(file, format=format)
    return file.getvalue()


# ------------------------------------------------------------------------------------------------ what it serves

def test_the_page_fetches_nothing_from_outside(at):
    status, headers, page = ask(at, "GET", "/")
    assert status == 200 and "default-src 'none'" in headers["content-security-policy"]
    for path in STATIC.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(https?:)?//[\w.-]+\.\w+/", text) and "@import" not in text and "url(" not in text, path
        assert not re.search(r"\b(src|href)=\"(?!/|#)", text), path
        for name in re.findall(r"[\"'](?:/static|\.)/([\w.]+)[\"']", text):
            assert ask(at, "GET", f"/static/{name}")[0] == 200, (path, name)
    assert not re.search(r"<script>|\son\w+=|style=", page.decode()), "the policy allows no inline script or style"


def test_a_mask_comes_back_as_its_ids_whether_grey_or_in_the_exact_colours(at):
    grey = grey_png(IDS)
    coloured = io.BytesIO()
    Image.fromarray(PALETTE[IDS]).save(coloured, format="PNG")
    indexed = Image.fromarray(IDS, "P")
    indexed.putpalette(PALETTE.tobytes())
    as_indices = io.BytesIO()
    indexed.save(as_indices, format="PNG")
    larger = grey_png(IDS.repeat(2, 0).repeat(2, 1))
    for data in (grey, coloured.getvalue(), as_indices.getvalue(), larger):
        status, _, found = ask(at, "POST", "/api/masks", data, "image/png")
        assert status == 200 and found == IDS.tobytes()


def test_a_mask_of_wrong_ids_colours_or_shape_is_refused_with_what_is_wrong(at):
    assert says(at, "POST", "/api/masks", grey_png(IDS + 20), "image/png") == (
        422, "the mask: found class ids 29, 30, 31, 32, 33, ... in 2100 pixels, expected 0 to 28")
    blended = PALETTE[IDS]
    blended[3, 4] = 1, 2, 3
    file = io.BytesIO()
    Image.fromarray(blended).save(file, format="PNG")
    status, line = says(at, "POST", "/api/masks", file.getvalue(), "image/png")
    assert status == 422 and "found 1 pixels in colours of no class (#010203)" in line and "#8cc8f0 for sky" in line
    assert says(at, "POST", "/api/masks", grey_png(IDS[:, :40]), "image/png")[1] == (
        "the mask: found 40x48 pixels, expected 64x48 or another size of shape 4:3")


def test_templates_are_a_dozen_masks_of_the_canvas(at):
    about = json.loads(ask(at, "GET", "/api/studio")[2])
    assert len(about["templates"]) == 12 and len(about["classes"]) == 29
    for template in about["templates"]:
        ids = np.frombuffer(ask(at, "GET", f"/api/templates/{template['id']}")[2], np.uint8)
        assert len(ids) == HEIGHT * WIDTH and ids.max() < 29 and len(np.unique(ids)) > 2
    assert ask(at, "GET", "/api/templates/99")[0] == 404


def test_a_painting_tells_every_round_and_leaves_image_mask_and_recipe(at):
    heard = events(at, begin(at, seed=5, variations=2))
    assert heard[-1][0] == "done" and {"started", "round"} <= {kind for kind, _ in heard}
    results = heard[-1][1]["results"]
    assert [entry["name"] for entry in results] == ["studio", "studio-2"]
    folder = at.studio.results.folder
    for entry in results:
        image, mask, recipe = (ask(at, "GET", f"/api/results/{entry['id']}.{kind}") for kind in ("jpg", "png", "json"))
        assert Image.open(io.BytesIO(image[2])).size == (WIDTH, HEIGHT)
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(mask[2]))), IDS)
        assert (folder / f"{entry['id']}.jpg").read_bytes() == image[2]
        assert json.loads(Image.open(folder / f"{entry['id']}.jpg").info["comment"]) == json.loads(recipe[2])
        assert json.loads(recipe[2])["asked"]["seed"] == 5
    assert json.loads(ask(at, "GET", "/api/studio")[2])["results"][0]["id"] == results[-1]["id"]


def test_live_results_are_shown_and_not_written_until_kept(at):
    entry = events(at, begin(at, live=True))[-1][1]["results"][0]
    file = at.studio.results.folder / f"{entry['id']}.jpg"
    assert not entry["kept"] and not file.exists()
    status, _, body = ask(at, "POST", f"/api/results/{entry['id']}/keep")
    assert status == 200 and json.loads(body)["kept"] and file.exists()


def test_a_result_can_be_the_style_of_the_next_and_an_upload_too(at):
    entry = events(at, begin(at))[-1][1]["results"][0]
    assert events(at, begin(at, style=entry["id"]))[-1][0] == "done"
    status, _, body = ask(at, "POST", "/api/styles", picture_bytes(300, 200, "JPEG"), "image/jpeg")
    assert status == 201
    id_ = json.loads(body)["id"]
    assert ask(at, "GET", f"/api/styles/{id_}")[0] == 200
    assert events(at, begin(at, style=id_))[-1][0] == "done"
    assert says(at, "POST", "/api/jobs", wish(at, style="0123456789abcdef"), "application/json") == (404, "no such style")


def test_a_photo_becomes_a_mask_where_there_is_a_segmenter(at):
    status, _, body = ask(at, "POST", "/api/segment", picture_bytes(WIDTH, HEIGHT), "image/png")
    assert status == 200 and len(body) == HEIGHT * WIDTH
    at.studio.painter.segmenter = False
    try:
        assert says(at, "POST", "/api/segment", b"", "image/png")[0] == 409
    finally:
        at.studio.painter.segmenter = True


def test_history_is_there_after_the_server_starts_again(tmp_path):
    with Running(FakePainter(HEIGHT, WIDTH, steps=1), tmp_path) as at:
        upload = json.loads(ask(at, "POST", "/api/styles", picture_bytes(64, 48), "image/png")[2])["id"]
        entry = events(at, begin(at, style=upload))[-1][1]["results"][0]
    (tmp_path / "20200101-000000.json").write_text('{"format": "iidm studio recipe 1"}')       # half a result
    with Running(FakePainter(HEIGHT, WIDTH), tmp_path) as at:
        assert [found["id"] for found in json.loads(ask(at, "GET", "/api/studio")[2])["results"]] == [entry["id"]]
        assert ask(at, "GET", f"/api/styles/{upload}")[0] == 200 and ask(at, "GET", "/api/styles/0123456789abcdef")[0] == 404
        assert events(at, begin(at, style=upload))[-1][0] == "done"


# ------------------------------------------------------------------------------------------------ the queue

def test_cancelling_stops_at_the_next_step_and_frees_the_queue(tmp_path):
    painter = FakePainter(HEIGHT, WIDTH, steps=1000)
    painter.hold = threading.Event()
    with Running(painter, tmp_path, queue=2) as at:
        first, second, third = begin(at), begin_until_taken(at), begin_until_taken(at)
        assert says(at, "POST", "/api/jobs", wish(at), "application/json") == (
            429, "the queue is full (2 wait), try again in a moment")
        assert ask(at, "DELETE", f"/api/jobs/{second}")[0] == 200
        assert events(at, second)[-1][0] == "cancelled"
        ask(at, "DELETE", f"/api/jobs/{first}")
        ask(at, "DELETE", f"/api/jobs/{third}")
        painter.hold.set()
        assert events(at, first)[-1][0] == "cancelled" and events(at, third)[-1][0] == "cancelled"
        painter.steps = 1
        assert events(at, begin(at))[-1][0] == "done"
        assert len(list(tmp_path.glob("*.jpg"))) == 1


def begin_until_taken(at):
    """A painting that waits behind the one that the thread has taken."""
    end = time.monotonic() + 5
    while at.studio.queue.current is None and time.monotonic() < end:
        time.sleep(0.005)
    return begin(at)


def test_an_error_while_painting_is_one_line_and_the_next_painting_works(at, capsys):
    assert events(at, begin(at, name="fails"))[-1] == ("failed", {"error": "the mask: found a bad omen, expected none"})
    assert events(at, begin(at, name="breaks"))[-1] == ("failed", {"error": "painting failed: something inside"})
    assert events(at, begin(at))[-1][0] == "done"


def test_a_slow_reader_gets_the_latest_and_the_end(at):
    job = begin(at)
    assert at.studio.queue.find(job).ended.wait(10)
    late = events(at, job)
    assert [kind for kind, _ in late].count("step") == 0 and late[-1][0] == "done"
    again = ask(at, "GET", f"/api/jobs/{job}/events", Last_Event_ID=str(10 ** 6))      # nothing more: ends with the client
    assert again[0] == 200


# ------------------------------------------------------------------------------------------------ what it refuses

def test_options_out_of_range_are_refused_one_line_each(at):
    body = wish(at, seed=-1, strength=1000, rounds=4, guidance="3", variations=5, preset="slow", name="../x", path="/x", live=1)
    status, _, answer = ask(at, "POST", "/api/jobs", body, "application/json")
    lines = json.loads(answer)["problems"]
    assert status == 422 and len(lines) == 9 and lines[0] == "request: 'path' is not an option"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1",
                                  "localhost.evil.example:{port}", "[::1", "",
                                  "127.0.0.1:{port}@evil.example", "10.0.0.7:{port}"])
def test_a_foreign_host_is_refused_so_that_dns_rebinding_has_no_way_in(at, host):
    assert says(at, "GET", "/", Host=host.format(port=at.port))[0] == 400
    assert says(at, "POST", "/api/jobs", wish(at), "application/json", Host=host.format(port=at.port))[0] == 400


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1", "http://localhost:{port}"])
def test_requests_of_another_sites_page_are_refused(at, origin):
    assert says(at, "POST", "/api/jobs", wish(at), "application/json", Origin=origin.format(port=at.port))[0] == 403
    assert says(at, "GET", "/api/studio", Origin=origin.format(port=at.port))[0] == 403
    assert says(at, "GET", "/api/studio", Sec_Fetch_Site="cross-site")[0] == 403
    assert ask(at, "GET", "/api/studio", Origin=f"http://127.0.0.1:{at.port}", Sec_Fetch_Site="same-origin")[0] == 200


def test_a_token_is_asked_for_and_goes_from_the_address_into_a_cookie(tmp_path):
    with Running(FakePainter(HEIGHT, WIDTH), tmp_path, token="open-sesame") as at:
        for path in ("/", "/static/app.js", "/api/studio", "/?token=wrong", "/api/studio?token=open-sesame"):
            assert says(at, "GET", path)[0] == 401
        assert says(at, "GET", "/api/studio", Cookie="iidm_studio=\"; \x7f=;;")[0] == 401
        status, headers, _ = ask(at, "GET", "/?token=open-sesame")
        cookie = headers["set-cookie"]
        assert status == 303 and headers["location"] == "/" and "HttpOnly" in cookie and "samesite=strict" in cookie.lower()
        assert ask(at, "GET", "/api/studio", Cookie=cookie.split(";")[0])[0] == 200
        assert ask(at, "GET", "/api/studio", Authorization="Bearer open-sesame")[0] == 200
        assert says(at, "GET", "/api/studio", Authorization="Bearer open-sesame", Host="evil.example")[0] == 400


def test_listening_beyond_this_machine_needs_a_token_and_a_taken_port_is_one_line(at, capsys):
    with pytest.raises(UserError, match="--host 0.0.0.0: found no --token"):
        script.main(["--host", "0.0.0.0"])
    with pytest.raises(UserError, match="--token: expected at least 8"):
        script.main(["--host", "0.0.0.0", "--token", "abc"])
    with pytest.raises(UserError, match="cannot listen there"):
        script.main(["--port", str(at.port)])


def test_a_body_beyond_the_limit_is_refused_while_it_comes(at):
    with socket.create_connection(("127.0.0.1", at.port), timeout=20) as stream:
        stream.sendall(f"POST /api/masks HTTP/1.1\r\nHost: 127.0.0.1:{at.port}\r\nContent-Type: image/png\r\n"
                       "Content-Length: 4000001\r\n\r\n".encode())
        assert b" 413 " in stream.recv(65536)
    # Without a length: it has to be counted.
    with socket.create_connection(("127.0.0.1", at.port), timeout=20) as stream:
        stream.sendall(f"POST /api/masks HTTP/1.1\r\nHost: 127.0.0.1:{at.port}\r\nContent-Type: image/png\r\n"
                       "Transfer-Encoding: chunked\r\n\r\n".encode())
        sent = 0
        try:
            for _ in range(400):
                stream.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                sent += 65536
        except OSError:
            pass
        assert sent < 24_000_000
        answer = b""
        try:
            answer = stream.recv(65536)
        except OSError:
            pass
    assert b" 413 " in answer or answer == b""
    assert ask(at, "GET", "/api/studio")[0] == 200


def test_a_body_that_never_comes_is_given_up(at, monkeypatch):
    monkeypatch.setattr("studio.guard.SLOWEST", 0.2)
    with socket.create_connection(("127.0.0.1", at.port), timeout=20) as stream:
        stream.sendall(f"POST /api/masks HTTP/1.1\r\nHost: 127.0.0.1:{at.port}\r\nContent-Type: image/png\r\n"
                       "Content-Length: 100\r\n\r\nx".encode())
        assert b" 408 " in stream.recv(65536)


def test_a_picture_is_measured_before_it_is_decoded(at):
    huge = bytearray(grey_png(np.zeros((8, 8))))
    huge[16:24] = (60_000).to_bytes(4, "big") * 2                       # IHDR: 3.6 gigapixels
    huge[29:33] = zlib.crc32(bytes(huge[12:29])).to_bytes(4, "big")
    for path in ("/api/masks", "/api/styles"):
        status, line = says(at, "POST", path, bytes(huge), "image/png")
        assert status == 422 and "too many pixels, expected at most 24 million" in line


def test_what_is_no_picture_or_of_another_type_is_refused(at):
    assert says(at, "POST", "/api/styles", b"GIF89a" + bytes(60), "image/png")[0] == 422
    assert says(at, "POST", "/api/styles", b"%!PS-Adobe-3.0 EPSF-3.0\n", "image/png")[0] == 422
    assert says(at, "POST", "/api/styles", picture_bytes(40, 30), "text/plain")[0] == 415
    assert says(at, "POST", "/api/jobs", wish(at), "text/plain")[0] == 415
    assert says(at, "POST", "/api/styles", picture_bytes(40, 30)[:-200], "image/png")[0] == 422


@pytest.mark.parametrize("path", [
    "/static/../server.py", "/static/%2e%2e/server.py", "/static/..%2fserver.py", "/static//etc/passwd",
    "/api/styles/..%2f..%2fetc", "/api/results/../../etc/passwd.jpg", "/api/results/%2e%2e%2fx.json",
    "/api/templates/..%5c..%5cx",
    "/static/app.js%00.html", "//etc/passwd", "/%00"])
def test_no_path_leads_to_a_file(at, path):
    assert says(at, "GET", path)[0] == 404


# ------------------------------------------------------------------------------------------------ hostile

class Apart:
    """The same server in a process of its own, whose memory is nobody else's."""

    def __enter__(self):
        self.process = subprocess.Popen([sys.executable, "-m", "tests.studio.fake", "0"], cwd=ROOT,
                                        stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1].strip("/\n"))
        return self

    def __exit__(self, *error):
        self.process.terminate()
        self.process.wait(10)
        self.process.stdout.close()

    def memory(self):
        """Its bytes in memory, after a moment of rest."""
        time.sleep(0.5)
        with open(f"/proc/{self.process.pid}/statm") as stream:
            return int(stream.read().split()[1]) * 4096


def hostile(at, rng, i):
    """One request meant to hurt; every kind comes up again and again."""
    junk = rng.integers(0, 256, int(rng.integers(1, 20_000)), dtype=np.uint8).tobytes()
    kind = i % 10
    if kind == 0:
        return raw(at, junk)
    if kind == 1:
        return ask(at, "POST", "/api/masks", junk, "image/png")
    if kind == 2:
        return ask(at, "POST", "/api/jobs", junk, "application/json")
    if kind == 3:
        return ask(at, "POST", "/api/styles", b"\x89PNG\r\n\x1a\n" + junk, "image/png")
    if kind == 4:
        return ask(at, "POST", "/api/styles", bytes(21_000_000), "image/jpeg")
    if kind == 5:
        return ask(at, "GET", "/api/results/" + "..%2f" * int(rng.integers(1, 200)) + "x.jpg")
    if kind == 6:
        return ask(at, "GET", "/", Host="evil.example", Origin="http://evil.example")
    if kind == 7:
        return ask(at, "POST", "/api/jobs", "[" * 100_000, "application/json")
    if kind == 8:
        return raw(at, f"POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1:{at.port}\r\nContent-Type: application/json\r\n"
                       f"Content-Length: 1000\r\n\r\n".encode() + junk[:100])
    damaged = bytearray(picture_bytes(400, 300, "JPEG"))
    for place in rng.integers(0, len(damaged), 20):
        damaged[place] = rng.integers(0, 256)
    return ask(at, "POST", "/api/styles", bytes(damaged), "image/jpeg")


def raw(at, data):
    """Bytes as they are, then the connection is dropped."""
    with socket.create_connection(("127.0.0.1", at.port), timeout=10) as stream:
        stream.sendall(data)
        stream.settimeout(0.05)
        try:
            stream.recv(1000)
        except OSError:
            pass
    return None


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads a process's memory from /proc")
def test_two_hundred_hostile_requests_leave_the_server_alive_and_its_memory_flat():
    def storm(first, count, at_once):
        def one(i):
            try:
                answer = hostile(at, np.random.default_rng(i), i)
                return answer and answer[0] >= 500 and (i, answer)
            except (OSError, http.client.HTTPException):
                return None                                            # the server may hang up on such guests
        with ThreadPoolExecutor(at_once) as pool:
            return [failed for failed in pool.map(one, range(first, first + count)) if failed]

    with Apart() as at:
        assert storm(0, 100, 64) == []                                 # once for what libraries keep for ever
        before = at.memory()
        assert storm(1000, 136, 8) == [] and storm(2000, 64, 64) == []
        grown = at.memory() - before
        assert at.process.poll() is None and grown < 16e6, f"{grown / 1e6:.0f} MB more than {before / 1e6:.0f}"
        job = json.loads(ask(at, "POST", "/api/jobs", wish(at, rounds=1), "application/json")[2])["id"]
        assert events(at, job)[-1][0] == "done"
