"""README and docs/: every link leads somewhere, and the README stays on one page."""
import re

import pytest

from configs.classes import NAMES_AND_COLOURS
from tests.helpers import ROOT

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def anchors(page):
    """The names that a page's headings have as links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_to_a_heading_of_it(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"https?:", link):
            continue
        file, _, heading = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{page.name}: {link}"
        assert not heading or heading in anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_and_every_module_named_in_a_page_is_there(page):
    text, folders = page.read_text(encoding="utf-8"), {path.name for path in ROOT.iterdir() if path.is_dir()}
    for name in re.findall(r"`(\w+/[\w/.]+)`", text):
        folder = name.split("/")[0]
        assert folder not in folders - {"demo", "runs", "checkpoints"} or (ROOT / name).exists(), f"{page.name}: {name}"
    for name in re.findall(r"python -m (\w+\.[\w.]+)", text):
        path = ROOT / name.replace(".", "/")
        assert name.split(".")[0] not in folders or (
            path.with_suffix(".py").exists() or (path / "__main__.py").exists()), f"{page.name}: {name}"


def test_the_readme_is_one_page():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 1000


def test_the_chinese_readme_has_every_page_of_docs_and_every_command_in_the_order_its_readers_expect():
    text = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
    places = [text.index(f"## {heading}\n") for heading in ("简介", "安装", "数据", "训练", "推理", "致谢")]
    assert text.startswith("# ") and text.index("![") < places[0] and places == sorted(places)
    for page in (ROOT / "docs").glob("*.md"):
        assert f"docs/{page.name}" in text, page.name
    for command in ("train.py", "test.py", "ensemble.py", "evaluate.py", "make demo", "make test", "runtime.doctor"):
        assert command in text, command
    for number, (name, _) in enumerate(NAMES_AND_COLOURS):
        assert re.search(rf"\| {number} \| \S+ {name} ", text), name


def test_every_page_of_docs_is_linked_from_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in sorted((ROOT / "docs").glob("*.md")):
        assert f"docs/{page.name}" in readme, page.name
