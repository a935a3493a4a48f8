"""The files of the page: what is vendored, what is written, and how."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from simgit.server.static import FOLDER, files

VENDOR = FOLDER / "vendor"
OWN = sorted(
    path
    for path in FOLDER.rglob("*")
    if path.suffix in (".js", ".css", ".html") and VENDOR not in path.parents
)
MODULES = [path for path in OWN if path.suffix == ".js"]
LONGEST = 200
MOST_NAMES = 24
ADDED = {"uplot.js": b"\nexport default uPlot;\n"}
"""What a vendored file has at its end that its package's has not."""


def test_vendored_files_are_those_of_their_packages() -> None:
    rows = re.findall(
        r"^\| (\S+) \| .* \| ([0-9a-f]{64}) \|$", (VENDOR / "README.md").read_text(), re.M
    )
    assert {name for name, _ in rows} == {
        path.name for path in VENDOR.iterdir() if path.suffix in (".js", ".css")
    }
    for name, wanted in rows:
        data = (VENDOR / name).read_bytes()
        added = ADDED.get(name, b"")
        assert data.endswith(added)
        packaged = data[: len(data) - len(added)]
        digests = {hashlib.sha256(packaged + end).hexdigest() for end in (b"", b"\n")}
        assert wanted in digests, name


def test_vendored_files_have_their_licences() -> None:
    for name in ("htm", "preact", "uplot"):
        assert (VENDOR / f"LICENSE-{name}").stat().st_size > 500, name


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_a_module_has_one_purpose_and_no_markup_as_text(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("// "), "its first line says what it is"
    assert text.count("\n") <= LONGEST
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
    )
    assert not re.search(r"\sstyle=", text), "the policy forbids it: classes, or element.style"
    assert not re.search(r"https?://(?!www\.w3\.org/)", text), "no request leaves the origin"


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_texts_are_finished(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\b(TODO|FIXME|XXX|TBD|lorem ipsum|coming soon)\b", text, re.I)


def test_folders_are_small() -> None:
    for folder in [FOLDER, *(path for path in FOLDER.rglob("*") if path.is_dir())]:
        assert len(list(folder.iterdir())) <= MOST_NAMES, folder


def test_what_the_first_screen_imports_is_asked_for_at_once() -> None:
    index = files()[1]["index.html"].data.decode()
    asked = set(re.findall(r'modulepreload" href="/page/\w+/([^"]+)"', index))
    assert {"main.js", "app.js", "screens/runs.js", "parts/chart.js", "vendor/uplot.js"} <= asked
    assert not asked & {"screens/best.js", "screens/repository.js", "screens/reference.js"}
    assert len(asked) <= 42, "a visit has at most 45 requests"


def test_a_style_is_given_in_one_place() -> None:
    """Screens that name a class alike would spoil each other."""
    text = re.sub(r"/\*.*?\*/", "", (FOLDER / "style.css").read_text(encoding="utf-8"), flags=re.S)
    text = re.sub(r"@media[^{]*{((?:[^{}]*{[^{}]*})*)[^{}]*}", "", text)
    selectors = [found[1].strip() for found in re.finditer(r"(?:^|})\s*(\.[^{}@]+){", text)]
    assert sorted({each for each in selectors if selectors.count(each) > 1}) == []
