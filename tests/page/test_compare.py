"""Two runs that are compared."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simgit.gym import Recorder
from simgit.repository import Repository
from tests.support.web import Process

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect


@pytest.mark.slow
def test_two_runs_are_compared_by_mouse_and_by_keyboard(
    copied: Path, visit: Callable[..., Any]
) -> None:
    with Repository.open(copied) as repo:
        env = Recorder.resume(repo, "gentle")
        taken = int(repo.state("main@101").action)
        env.step(1 - taken)  # the other one
        env.close()
        assert repo.resolve("main@100") == repo.resolve("gentle@100")
        only = repo.runs["main"].step - 100
        there = repo.state("gentle@101").observation.tolist()
    visitor = visit(copied)
    page = visitor.visit("/compare?a=main&b=gentle")
    expect(page.get_by_text("Apart since step 100. First difference: step 101.")).to_be_visible()
    states = page.get_by_role("region", name="States")
    expect(states.get_by_role("row", name=re.compile(rf"^main active \d+ {only} "))).to_be_visible()
    expect(states.get_by_role("row", name=re.compile("^gentle active 102 1 "))).to_be_visible()
    settings = page.get_by_role("region", name="Settings that differ")
    expect(settings.get_by_role("row", name="push – 0.5")).to_be_visible()
    page.get_by_role("button", name="Why?").click()
    why = page.get_by_role("region", name="Why they differ")
    expect(why).to_contain_text("At step 101 the action is another one.")
    expect(why.get_by_role("row", name=f"action {taken} {1 - taken}")).to_be_visible()
    same = page.get_by_role("region", name="At the same step")
    expect(same).to_contain_text("step 101 of 101")
    shown = f"{there[1]:.5g}".replace("-", "−")
    expect(same.get_by_role("row", name=re.compile("^observation"))).to_contain_text(shown)
    visitor.look("compare")

    slider = same.get_by_role("slider", name="Step of both")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expect(same).to_contain_text("One state: both runs share it.")
    assert "step=100" in page.url
    page.get_by_role("button", name="Go there").focus()
    page.keyboard.press("Enter")
    expect(same).to_contain_text("step 101 of 101")
    page.get_by_role("combobox", name="Run b").fill("high-lr")
    page.keyboard.press("Enter")
    expect(page.get_by_text("The same up to step 200; only main goes on.")).to_be_visible()
    expect(settings.get_by_role("row", name="agent.lr – 0.01")).to_be_visible()
    page.get_by_role("combobox", name="Run b").fill("nobody")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("There is no run nobody.")


@pytest.mark.slow
def test_the_comparison_fits_a_small_screen(served: Process, visit: Callable[..., Any]) -> None:
    visitor = visit(served, viewport={"width": 800, "height": 860})
    page = visitor.visit("/compare?a=main&b=gentle")
    expect(page.get_by_text("The same up to step 100; only main goes on.")).to_be_visible()
    width = page.evaluate("() => document.documentElement.scrollWidth")
    assert width <= 800
    visitor.look("compare-800")
