"""The page in a real browser, used as a visitor uses it: headless Chromium, a server with a painter that needs no networks."""
import base64
import io
import json
import re
import time

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="the studio needs requirements-studio.txt")
pytest.importorskip("uvicorn", reason="the studio needs requirements-studio.txt")

from data.images import read_labels  # noqa: E402
from runtime.pictures import PALETTE  # noqa: E402
from studio.server import STATIC  # noqa: E402
from tests.studio.browser import Page, find_browser  # noqa: E402
from tests.studio.fake import FakePainter, Running  # noqa: E402

needs_browser = pytest.mark.skipif(find_browser() is None, reason="no Chromium on this machine (IIDM_BROWSER names one)")
HEIGHT, WIDTH = 48, 64
SKY, TREE, SEA = 1, 5, 3
BUSY = "document.querySelector('#paint').classList.contains('stop')"


@pytest.fixture(scope="module")
def at(tmp_path_factory):
    """A running server."""
    with Running(FakePainter(HEIGHT, WIDTH, pause=0.03), tmp_path_factory.mktemp("results")) as running:
        yield running


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """One browser for all tests."""
    with Page(1280, 860) as page:
        yield page


@pytest.fixture
def page(at, browser):
    """The page as a newcomer finds it."""
    browser.events.clear()
    browser.resize(1280, 860)
    address = f"http://127.0.0.1:{at.port}/"
    browser.open(address)
    browser.run("localStorage.clear()")
    browser.open(address, "performance.now() < 5000 && document.body && document.body.dataset.ready")
    yield browser
    assert browser.complaints() == []


def ids(page):
    """The mask on the canvas: what the page keeps for a reload."""
    time.sleep(0.2)
    kept = json.loads(page.run("localStorage.getItem('studio-mask')"))
    return np.frombuffer(base64.b64decode(kept["data"]), np.uint8).reshape(kept["height"], kept["width"])


def on(page, x, y):
    """Where a pixel of the mask lies in the window."""
    box = page.run("document.querySelector('#canvas').getBoundingClientRect().toJSON()")
    scale = min(box["width"] / WIDTH, box["height"] / HEIGHT)
    left, top = box["x"] + (box["width"] - WIDTH * scale) / 2, box["y"] + (box["height"] - HEIGHT * scale) / 2
    return left + (x + 0.5) * scale, top + (y + 0.5) * scale


def give(page, selector, tmp_path, array):
    """Gives a PNG to a file input."""
    file = tmp_path / f"given-{time.monotonic_ns()}.png"               # the same name again would be no change
    Image.fromarray(array).save(file)
    page.files(selector, file)


def blank(page, tmp_path):
    """An all-sky mask on the canvas, through the file dialog's input."""
    give(page, "#mask-file", tmp_path, np.full((HEIGHT, WIDTH), SKY, np.uint8))
    page.until("document.querySelector('#palette [value=\"1\"]').parentElement.innerText.includes('100 %')")
    assert (ids(page) == SKY).all()


def slide(page, selector, value):
    """Moves a slider."""
    page.run(f"(() => {{ const e = document.querySelector('{selector}'); e.value = {value};"
             "e.dispatchEvent(new Event('input')); })()")


def choose(page, class_id, tool="b", size=1):
    page.run(f"document.querySelector('#palette [value=\"{class_id}\"]').click()")
    slide(page, "#size", size)
    page.run("document.activeElement.blur()")
    page.key(tool)


@needs_browser
def test_brush_fill_rectangle_lasso_and_eraser_set_exactly_the_ids_they_say(page, tmp_path):
    blank(page, tmp_path)
    expected = np.full((HEIGHT, WIDTH), SKY, np.uint8)
    choose(page, TREE)
    page.drag([on(page, x, 10) for x in range(5, 21)])
    expected[10, 5:21] = TREE
    np.testing.assert_array_equal(ids(page), expected)
    choose(page, SEA, "r")
    page.drag([on(page, 30, 20), on(page, 35, 25), on(page, 39, 29)])
    expected[20:30, 30:40] = SEA
    np.testing.assert_array_equal(ids(page), expected)
    choose(page, 12, "g")
    page.drag([on(page, 33, 22)])
    expected[20:30, 30:40] = 12
    np.testing.assert_array_equal(ids(page), expected)
    page.key("e")
    page.drag([on(page, 10, 10)])
    expected[10, 10] = SKY
    np.testing.assert_array_equal(ids(page), expected)
    choose(page, 4, "l")                                               # a polygon, click by click
    for x, y in ((50, 10), (60, 10), (60, 20), (50, 20)):
        page.drag([on(page, x, y)])
    page.key("Enter")
    found = ids(page)
    assert set(np.unique(found)) == {SKY, TREE, 12, 4} and 90 <= (found == 4).sum() <= 110 and found[15, 55] == 4


@needs_browser
def test_undo_and_redo_go_over_sixty_strokes_and_back(page, tmp_path):
    blank(page, tmp_path)
    choose(page, TREE)
    for i in range(60):
        page.drag([on(page, i, 5)])
    assert (ids(page)[5, :60] == TREE).all()
    for _ in range(60):
        page.key("z", 2)
    assert (ids(page) == SKY).all()
    for _ in range(60):
        page.key("Z", 2 | 8)
    assert (ids(page)[5] == [TREE] * 60 + [SKY] * 4).all()
    page.click("#undo")
    assert ids(page)[5, 59] == SKY
    page.click("#redo")
    assert ids(page)[5, 59] == TREE


@needs_browser
def test_the_canvas_and_the_palette_work_by_keyboard(page, tmp_path):
    blank(page, tmp_path)
    choose(page, TREE)
    page.run("document.querySelector('#canvas').focus()")
    page.key("ArrowRight")                                             # from the middle
    page.key("ArrowDown", 8)
    page.key(" ")
    assert np.argwhere(ids(page) == TREE).tolist() == [[HEIGHT // 2 + 8, WIDTH // 2 + 1]]
    page.key("/")
    for letter in "湖":
        page.call("Input.insertText", text=letter)
    shown = page.run("[...document.querySelectorAll('#palette label:not([hidden]) :nth-child(3)')].map(e => e.innerText)")
    assert shown == ["lake"]
    page.key("Enter")
    assert page.run("document.querySelector('#palette :checked').value") == "20"


@needs_browser
def test_a_finger_paints_and_two_fingers_zoom_without_painting(page, tmp_path):
    blank(page, tmp_path)
    choose(page, TREE)

    def touch(kind, *points):
        found = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        page.call("Input.dispatchTouchEvent", type=kind, touchPoints=found)
    page.call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=2)
    try:
        touch("touchStart", on(page, 8, 30))
        touch("touchMove", on(page, 12, 30))
        touch("touchEnd")
        once = ids(page)
        assert (once[30, 8:13] == TREE).all() and (once == TREE).sum() == 5
        touch("touchStart", on(page, 20, 20))
        touch("touchStart", on(page, 20, 20), on(page, 30, 20))
        touch("touchMove", on(page, 15, 20), on(page, 45, 20))
        touch("touchEnd")
        np.testing.assert_array_equal(ids(page), once)
        page.drag([on(page, 2, 2)])                                    # zoomed in: another pixel lies there
        assert (ids(page) == TREE).sum() == 6 and ids(page)[2, 2] == SKY
    finally:
        page.call("Emulation.setTouchEmulationEnabled", enabled=False)


@needs_browser
def test_a_saved_mask_is_what_data_reads_and_opens_again_in_grey_and_in_colour(page, tmp_path):
    rng = np.random.default_rng(0)
    given = rng.integers(0, 29, (HEIGHT, WIDTH)).astype(np.uint8)
    give(page, "#mask-file", tmp_path, given)
    page.until("document.querySelector('#undo').disabled === false")
    page.run("window.saved = []; URL.createObjectURL = (blob) => (window.saved.push(blob), 'data:,');"
             "HTMLAnchorElement.prototype.click = function () {}")
    for button in ("#save-grey", "#save-colour"):
        page.click("#save")
        page.click(button)
        page.until(f"window.saved.length === {1 if 'grey' in button else 2}")
    grey, colour = (bytes(page.run(f"window.saved[{i}].arrayBuffer().then((b) => [...new Uint8Array(b)])")) for i in range(2))
    (tmp_path / "saved.png").write_bytes(grey)
    np.testing.assert_array_equal(read_labels(tmp_path / "saved.png", HEIGHT, WIDTH), given)
    assert Image.open(io.BytesIO(grey)).mode == "L"
    shown = Image.open(io.BytesIO(colour))
    np.testing.assert_array_equal(np.asarray(shown.convert("RGB")), PALETTE[given])
    assert "1 sky rgb(140,200,240)" in shown.text["Comment"]
    blank(page, tmp_path)
    (tmp_path / "colour.png").write_bytes(colour)
    page.files("#mask-file", tmp_path / "colour.png")
    page.until("!document.querySelector('#palette [value=\"1\"]').parentElement.innerText.includes('100 %')")
    np.testing.assert_array_equal(ids(page), given)


@needs_browser
def test_a_refused_mask_is_one_line_on_the_page(page, tmp_path):
    before = ids(page)
    give(page, "#mask-file", tmp_path, np.full((HEIGHT, WIDTH), 200, np.uint8))
    assert "found class id 200" in page.until("document.querySelector('#toasts').innerText")
    np.testing.assert_array_equal(ids(page), before)
    page.events.clear()                                                # the console reports the 422


@needs_browser
def test_choose_a_style_paint_watch_cancel_and_reload(page, at):
    page.click("#styles .thumb:nth-child(5)")
    style = page.run("document.querySelector('#style-name').textContent")
    page.run("""window.seen = new Set(); new MutationObserver(() => document.querySelectorAll('#frames .soft img').forEach(
        (image) => window.seen.add(image.src))).observe(document.querySelector('#frames'),
        {subtree: true, attributes: true, childList: true})""")
    page.click("#paint")
    page.until("document.querySelector('#state').textContent.includes('round 2 of 3')")
    page.until(f"!{BUSY}")
    assert page.run("window.seen.size") >= 3
    assert page.until("document.querySelector('#frames img').naturalWidth") == WIDTH
    assert re.fullmatch(r"painted in [\d.]+ s", page.run("document.querySelector('#state').textContent"))
    assert page.run("document.querySelectorAll('#history .thumb').length") == 1
    assert page.run("document.querySelector('#get-recipe').getAttribute('href')").endswith(".json")
    # The film: its first frame is a preview again, its end the picture.
    slide(page, "#film", 0)
    assert page.run("document.querySelector('#frames button').classList.contains('soft')")

    at.studio.painter.pause, painted = 0.2, at.studio.painter.painted
    try:
        page.click("#paint")
        page.until("document.querySelector('#state').textContent.includes('t =')")
        page.click("#paint")                                           # it says Stop
        page.until("document.querySelector('#state').textContent === 'stopped'")
        end = time.monotonic() + 5
        while at.studio.queue.current and time.monotonic() < end:
            time.sleep(0.02)
        assert at.studio.queue.current is None and at.studio.painter.painted == painted + 1
        assert page.run("document.querySelectorAll('#history .thumb').length") == 1
    finally:
        at.studio.painter.pause = 0.03
    mask = ids(page)
    page.open(f"http://127.0.0.1:{at.port}/", "performance.now() < 5000 && document.body && document.body.dataset.ready")
    np.testing.assert_array_equal(ids(page), mask)
    assert page.run("document.querySelectorAll('#history .thumb').length") == 1
    assert page.run("document.querySelector('#style-name').textContent") == style


@needs_browser
def test_live_mode_paints_after_every_stroke_and_gives_up_the_one_before(page, at, tmp_path):
    blank(page, tmp_path)
    page.click("#live")
    page.until(BUSY)
    page.until(f"!{BUSY}")
    choose(page, TREE, size=6)
    at.studio.painter.pause, painted = 0.3, at.studio.painter.painted
    try:
        page.drag([on(page, 10, 10), on(page, 20, 20)])
        page.until("document.querySelector('#state').textContent.includes('t =')")
        page.drag([on(page, 30, 10), on(page, 20, 20)])
        time.sleep(0.5)
        at.studio.painter.pause = 0.01
        page.until(f"!{BUSY}")
        assert at.studio.painter.painted >= painted + 2
        assert page.run("document.querySelector('#keep').hidden") is False
        kept = page.run("document.querySelectorAll('#history .thumb').length")
        page.click("#keep")
        page.until(f"document.querySelectorAll('#history .thumb').length === {kept + 1}")
    finally:
        at.studio.painter.pause = 0.03


@needs_browser
def test_every_control_has_a_name_and_nothing_overflows(page):
    nameless = page.run("""[...document.querySelectorAll('button, a, input:not([hidden]), select, canvas')].filter((e) =>
        !e.getAttribute('aria-label') && !e.labels?.length && !e.textContent.trim()).map((e) => e.outerHTML)""")
    assert nameless == []
    for width, height in ((1920, 1080), (1024, 768), (820, 1180), (390, 800)):
        page.resize(width, height)
        time.sleep(0.1)
        assert page.run("document.documentElement.scrollWidth") <= width
        assert page.run("document.querySelector('#canvas').clientWidth") > 250


def contrast(a, b):
    """WCAG's contrast of two colours #rrggbb."""
    def luminance(colour):
        values = np.array([int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)])
        return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [":root {", ":root[data-theme=dark] {"])
def test_colours_have_the_contrast_of_wcag_aa(theme):
    style = (STATIC / "studio.css").read_text(encoding="utf-8")
    block = style[style.index("\n" + theme):]
    colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block[:block.index("}")]))
    for text, ground in (("ink", "card"), ("ink", "paper"), ("ink", "tint"), ("soft", "card"), ("soft", "paper"),
                         ("soft", "tint"), ("on-accent", "accent"), ("warn", "card"), ("on-warn", "warn")):
        assert contrast(colour[text], colour[ground]) >= 4.5, (text, ground)
    for edge, ground in (("edge", "card"), ("accent", "card"), ("accent", "paper"), ("accent", "tint")):
        assert contrast(colour[edge], colour[ground]) >= 3, (edge, ground)
    system = re.search(r"@media \(prefers-color-scheme: dark\) \{.*?\n\} \}", style, re.S).group(0)
    dark = style[style.index("\n:root[data-theme=dark]"):]
    named = lambda text: dict(re.findall(r"--([\w-]+): ([^;]+);", text))
    assert named(system) == named(dark[:dark.index("}")])
