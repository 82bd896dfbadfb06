"""README.md and docs/: links lead somewhere, pages stay short, and what is generated is up to date."""

import ast
import re
from pathlib import Path

import pytest

from keras_dcgan.training import records, watchdog
from tools import cli_page

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MOST_LINES = {"README.md": 150, "benchmarks.md": 130}  # half of that is generated
GENERATED = {"cli.md", "python-api.md"}
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """The fragments of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_images_exist(page):
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if link.startswith(("https://", "http://")):
            continue
        path, _, fragment = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not fragment or fragment in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_are_short(page):
    if page.name not in GENERATED:
        assert len(page.read_text(encoding="utf-8").splitlines()) <= MOST_LINES.get(page.name, 120)


def test_readme_leads_to_every_page():
    links = LINK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert {f"docs/{page.name}" for page in PAGES[1:]} <= {link.partition("#")[0] for link in links}


def test_cli_page_is_what_help_prints():
    written = cli_page.PAGE.read_text(encoding="utf-8")
    assert written == cli_page.page(), "python -m tools.cli_page"


def test_every_alarm_has_a_row_in_bad_images():
    tree = ast.parse(Path(watchdog.__file__).read_text(encoding="utf-8"))
    assigned = [target for node in ast.walk(tree) if isinstance(node, ast.Assign) for target in node.targets]
    alarms = {
        target.slice.value
        for target in assigned
        if isinstance(target, ast.Subscript) and ast.unparse(target.value) == "found"
    }
    page = (ROOT / records.BAD_IMAGES).read_text(encoding="utf-8")
    assert len(alarms) == 5
    assert all(f"`{alarm}`" in page for alarm in alarms)
