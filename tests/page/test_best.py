"""The screen of the best runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simgit.repository import Repository
from tests.support.web import Process

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect


def ranked(page: Any) -> list[str]:
    return [
        each.inner_text()
        for each in page.get_by_role("grid", name="Best runs").get_by_role("link").all()
    ]


@pytest.mark.slow
def test_the_best_runs_are_ranked(
    recorded: Path, served: Process, visit: Callable[..., Any]
) -> None:
    with Repository.open(recorded, read_only=True) as repo:
        best = [(each.name, value) for each, value in repo.runs.best("mean(return, 10)")]
        longest = [each.name for each, _ in repo.runs.best("max(length)", lowest=True)]
    visitor = visit(served)
    page = visitor.page
    page.get_by_role("link", name="Best", exact=True).click()
    grid = page.get_by_role("grid", name="Best runs")
    expect(grid.get_by_role("link", name=best[0][0])).to_be_visible()
    assert ranked(page) == [name for name, _ in best]
    expect(grid.get_by_role("row").nth(1)).to_contain_text(f"{best[0][1]:.5g}")
    expect(page.get_by_text("simgit run best")).to_be_visible()
    expect(page.get_by_text("Choose a setting")).to_be_visible()
    visitor.look("best")

    # by keyboard: another measure, the lowest first
    page.get_by_role("combobox", name="Measure").focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("max(len")
    expect(page.get_by_role("option", name="max(length)")).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.get_by_role("checkbox", name="lowest first").focus()
    page.keyboard.press("Space")
    expect(page.get_by_text("simgit run best --by 'max(length)' --lowest")).to_be_visible()
    expect(grid.get_by_role("row").nth(1)).to_contain_text(longest[0])
    assert ranked(page) == longest
    assert "lowest=1" in page.url
    page.set_viewport_size({"width": 800, "height": 860})
    visitor.look("best-narrow")
    grid.focus()
    page.keyboard.press("ArrowDown")
    expect(page).to_have_url(re.compile(f"at={longest[1]}"))


@pytest.mark.slow
def test_a_measure_that_is_wrong_is_said(served: Process, visit: Callable[..., Any]) -> None:
    visitor = visit(served)
    visitor.expects("best", 422)
    visitor.visit("/best?by=maen(return)")
    expect(visitor.page.get_by_role("alert")).to_contain_text("maen")
