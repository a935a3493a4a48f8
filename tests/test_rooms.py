"""The plan of the package: what `lint-imports` does not say of it."""

from __future__ import annotations

import re
from collections import defaultdict

import simgit
from tests.support.paths import ROOT


def test_a_class_name_is_used_once_in_the_package() -> None:
    places = defaultdict(list)
    for path in (ROOT / "simgit").rglob("*.py"):
        for name in re.findall(r"(?m)^ *class ([A-Za-z]\w*)[(:]", path.read_text()):
            places[name].append(str(path.relative_to(ROOT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_the_first_listing_is_short() -> None:
    names = [each.name for each in (ROOT / "simgit").iterdir() if not each.name.startswith("_")]
    assert len(names) <= 25


def test_dir_shows_what_all_says() -> None:
    assert set(dir(simgit)) == {*simgit.__all__, "__version__"}
