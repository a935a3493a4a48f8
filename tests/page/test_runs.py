"""The screen of all runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simgit.repository import Repository
from simgit.server.static import FOLDER, SCREENS, files
from tests.support.web import Process

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect


ASKED = """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
    .map((each) => [each.name.replace(location.origin, ""), each.transferSize])"""


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


@pytest.mark.slow
def test_what_another_process_does_appears(copied: Path, visit: Callable[..., Any]) -> None:
    page = visit(copied).page
    grid = page.get_by_role("grid", name="Runs")
    expect(page.get_by_text("3 runs")).to_be_visible()
    with Repository.open(copied) as repo:
        repo.branch("later", "main@5", overrides={"push": 0.25})
        row = grid.get_by_role("row").filter(has_text="later")
        expect(row).to_contain_text("push 0.25")  # settings are read, not told
        repo.rename_run("later", "renamed")
        expect(grid.get_by_role("link", name="renamed")).to_be_visible()
        expect(grid.get_by_role("link", name="later")).to_have_count(0)
        repo.delete_run("renamed")
        expect(grid.get_by_role("link", name="renamed")).to_have_count(0)
    assert rows(page) == ["main", "high-lr", "gentle"]


@pytest.mark.slow
@pytest.mark.parametrize("count", [1_001, 10_001])
def test_many_runs_are_all_there(count: int, tmp_path: Path, visit: Callable[..., Any]) -> None:
    with Repository.init(tmp_path / "many") as repo:
        repo.commit(0.0, run="root")
        with repo.transaction():
            for number in range(count - 1):
                repo.branch(f"run{number}", "root@0")
    page = visit(tmp_path / "many").page
    expect(
        page.get_by_text(f"{count:,} runs" if count >= 10_000 else f"{count} runs")
    ).to_be_visible(timeout=240_000)


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


@pytest.mark.slow
def test_a_first_visit_asks_for_little_and_for_nothing_twice(
    served: Process, visit: Callable[..., Any]
) -> None:
    page = visit(served).page
    expect(page.locator(".legend li")).to_have_count(3)
    asked: list[tuple[str, int]] = []
    while not any(
        "since=" in name for name, _ in asked
    ):  # the last: after the stream's first event
        page.wait_for_timeout(50)
        asked = page.evaluate(ASKED)
    names = [name for name, _ in asked]
    assert len(names) <= 45
    assert sum(size for _, size in asked) <= 250 << 10
    assert sorted({each for each in names if names.count(each) > 1}) == []
    assert sum(each.startswith("/v1/series") for each in names) == 1
    assert [each for each in names if each.startswith("/v1/runs?limit")] == ["/v1/runs?limit=10000"]


@pytest.mark.slow
def test_after_a_wrong_token_the_right_one_is_given(
    served: Process, visit: Callable[..., Any]
) -> None:
    visitor = visit(served)
    page, address = visitor.page, served.address
    visitor.expects("session", 401)
    visitor.expects("version", 401)
    visitor.expects("runs", 401)  # of the page that is left
    page.goto("about:blank")
    visitor.context.clear_cookies()
    page.goto(f"{address['url']}#token=wrong")
    page.get_by_label("Address or token").fill(address["tokens"]["full"])
    assert "token" not in page.url
    page.keyboard.press("Enter")
    expect(page.get_by_text("3 runs")).to_be_visible()
    page.reload()
    expect(page.get_by_text("3 runs")).to_be_visible()
