"""The two pictures of docs/studio.md, of a studio that is running: finished in the light, on its way in the dark.

    python -m studio --port 8000 &
    python -m tests.studio.photograph http://127.0.0.1:8000/ docs/studio.png docs/studio-dark.png
"""
import sys
import time

from PIL import Image

from tests.studio.browser import Page

BUSY = "document.querySelector('#paint').classList.contains('stop')"
STATE = "document.querySelector('#state').textContent"


def begin(page, template, style):
    """Puts a template (counted from 1) on the canvas and chooses a style."""
    page.run("localStorage.clear()")
    page.click("#templates")
    page.until(f"document.querySelectorAll('#templates-list canvas').length >= {template}")
    page.until("performance.getEntriesByType('resource').filter(r => r.name.includes('/api/templates/')).length >= 12", 120)
    page.until("[...document.querySelectorAll('#styles .thumb img')].every(image => image.complete)", 120)
    time.sleep(0.5)                                                    # and drawn
    page.run(f"document.querySelector('#templates-list button:nth-child({template})').click()")
    page.run(f"document.querySelector('#styles .thumb:nth-child({style}) input').click()")
    page.run("document.activeElement.blur()")


def paint(page, until=f"!{BUSY}"):
    """Paints and waits for something to be true."""
    page.click("#paint")
    page.until(until, 900)
    page.mouse("moved", 5, 5, button="none")
    time.sleep(0.3)


def shrink(path):
    """A PNG in 256 colours, dithered: half the bytes."""
    with Image.open(path) as picture:
        picture = picture.convert("RGB")
    palette = picture.quantize(256, Image.Quantize.FASTOCTREE)
    picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


def main(address, light, dark):
    with Page(1440, 900) as page:
        page.open(address)
        for template, style in ((8, 3), (11, 3), (6, 4), (7, 7)):
            begin(page, template, style)
            paint(page)
            print(page.run(STATE), flush=True)
        page.photograph(light)
        shrink(light)
        page.dark(True)
        begin(page, 6, 4)
        paint(page, f"{STATE}.includes('round 3 of')")
        page.photograph(dark)
        shrink(dark)
        print(page.complaints())


if __name__ == "__main__":
    main(*sys.argv[1:])
