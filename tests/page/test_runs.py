"""The screen of all runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from simgit.server.static import FOLDER, SCREENS, files
from tests.support.web import Process

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect


def rows(page: Any) -> list[str]:
    return [
        each.inner_text()
        for each in page.get_by_role("grid", name="Runs").get_by_role("link").all()
    ]


def test_runs_are_a_tree_and_curves_are_drawn(served: Process, visit: Callable[..., Any]) -> None:
    visitor = visit(served)
    page = visitor.page
    expect(page.get_by_text("3 runs")).to_be_visible()
    assert rows(page) == ["main", "high-lr", "gentle"]
    expect(page.get_by_role("application", name=re.compile("Curves of return"))).to_be_visible()
    visitor.look("runs")


@pytest.mark.slow
def test_a_filter_is_part_of_the_address(served: Process, visit: Callable[..., Any]) -> None:
    page = visit(served).page
    page.keyboard.press("/")
    page.keyboard.type("config.push == 0.5")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="main", exact=True)).to_have_count(0)
    expect(page.get_by_role("link", name="gentle")).to_be_visible()
    assert rows(page) == ["gentle"]
    assert "where=" in page.url
    page.reload()
    expect(page.get_by_role("link", name="gentle")).to_be_visible()
    assert rows(page) == ["gentle"]


@pytest.mark.slow
def test_a_condition_that_is_wrong_is_said(served: Process, visit: Callable[..., Any]) -> None:
    visitor = visit(served)
    visitor.expects("runs?", 422)
    visitor.visit("/runs?where=retrun+>+1")
    expect(visitor.page.get_by_role("alert")).to_contain_text("retrun")


def test_the_page_names_the_screens_that_the_server_shows() -> None:
    text = (FOLDER / "app.js").read_text(encoding="utf-8")
    named = re.search(r"const SCREENS = {(.*?)}", text)
    assert named is not None
    assert tuple(re.findall(r"(\w+):", named[1])) == SCREENS
    assert {f"screens/{each}.js" for each in SCREENS} <= files()[1].keys()


def test_the_page_is_small() -> None:
    found = files()[1]
    shown = re.findall(r'/page/\w+/([\w./-]+)"', found["index.html"].data.decode())
    assert {"main.js", "vendor/uplot.js", "screens/runs.js"} <= set(shown)
    first = sum(len(found[name].packed) for name in (*shown, "core/worker.js", "index.html"))
    assert first <= 120 << 10
    assert sum(len(each.packed) for each in found.values()) <= 200 << 10  # every screen seen
