"""Every control by keyboard alone: what other stories do by mouse."""

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
pytestmark = pytest.mark.slow


def press(wanted: Any, *keys: str) -> None:
    """Give an element the focus, and press keys there."""
    wanted.focus()
    for key in keys:
        wanted.page.keyboard.press(key)


def chosen(page: Any) -> Any:
    return page.get_by_role("group", name="Chosen runs")


def test_runs_are_chosen_sorted_and_drawn(served: Process, visit: Callable[..., Any]) -> None:
    page = visit(served).page
    grid = page.get_by_role("grid", name="Runs")
    expect(grid.get_by_role("link", name="gentle")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("compare two chosen runs")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    for key in ("x", "j", "x", "k", "j"):
        page.keyboard.press(key)
    expect(chosen(page)).to_contain_text("2 runs chosen")
    press(chosen(page).get_by_role("button", name="Choose none"), "Enter")
    expect(chosen(page)).to_have_count(0)
    press(grid.get_by_role("button", name="return"), "Enter")
    expect(page).to_have_url(re.compile("sort=-return"))
    theme = page.get_by_role("button", name=re.compile("^Colours"))
    press(theme, "Enter", "Enter")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    press(theme, "Enter")
    press(page.get_by_role("link", name="Skip to the content"), "Enter")
    expect(page.locator("main")).to_be_focused()


def test_curves_are_zoomed_read_and_saved(
    recorded: Path, served: Process, visit: Callable[..., Any]
) -> None:
    page = visit(served).visit("/run/main?y=reward&step=9")
    chart = page.get_by_role("application", name=re.compile("^Curves of reward"))
    expect(page.get_by_text("all states")).to_be_visible()
    press(chart, "Home")  # no reward before the first action
    expect(page.get_by_text(re.compile(r"^step 1: main 1$"))).to_be_attached()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("step=1(&|$)"))
    press(chart, "+")
    expect(page).to_have_url(re.compile("to=1"))
    press(chart, "0")
    expect(page).not_to_have_url(re.compile("to="))
    first = page.get_by_role("slider", name="First step shown")
    press(first, "ArrowRight")
    expect(page).to_have_url(re.compile("from=1"))
    press(page.get_by_role("slider", name="Last step shown"), "ArrowLeft")
    expect(page).to_have_url(re.compile("to=29"))
    press(page.get_by_role("button", name="Show all"), "Enter")
    field = page.get_by_placeholder("+ field")
    field.focus()
    page.keyboard.type("observation[0]")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("y=reward%2Cobservation"))
    press(page.get_by_role("checkbox", name="min–max"), "Space")
    expect(page).to_have_url(re.compile("band=0"))
    press(page.get_by_role("slider", name="smooth"), "ArrowRight")
    expect(page).to_have_url(re.compile("smooth=2"))
    press(page.get_by_text("3 marks", exact=True), "Enter")
    press(page.get_by_role("listitem").get_by_role("button", name="@100"), "Enter")
    expect(page.get_by_role("heading", name="State 100", exact=True)).to_be_visible()


def test_a_run_is_used(served: Process, visit: Callable[..., Any]) -> None:
    page = visit(served).visit("/run/main?step=100&tab=episodes")
    episodes = page.get_by_role("grid", name="Episodes")
    expect(episodes.get_by_role("row", selected=True)).to_be_visible()
    press(episodes, "ArrowUp")
    expect(page).not_to_have_url(re.compile("step=100"))
    press(page.get_by_role("slider", name="Episode", exact=True), "Home")
    expect(page).to_have_url(re.compile("step=0"))
    expect(page.get_by_role("heading", name="State 0", exact=True)).to_be_visible()
    press(page.get_by_role("slider", name="State of the episode"), "ArrowRight")
    expect(page.get_by_role("heading", name="State 1", exact=True)).to_be_visible()
    press(page.get_by_role("button", name="Newest state"), "Enter")
    press(page.get_by_role("button", name="Previous state"), "Enter")
    press(page.get_by_role("combobox", name="Speed"), "ArrowDown")
    press(page.get_by_text("Compare with"), "Enter")
    page.get_by_role("searchbox", name="Narrow the runs").focus()
    page.keyboard.type("gent")
    menu = page.get_by_role("group", name="What can be done")
    press(menu.get_by_role("link", name="gentle"), "Enter")
    expect(page).to_have_url(re.compile("/compare"))
    press(page.get_by_role("button", name="Exchange a and b"), "Enter")
    expect(page).to_have_url(re.compile("a=gentle&b=main"))
    page.go_back()
    press(page.get_by_role("tab", name="Config"), "Enter")
    press(page.get_by_role("checkbox", name="only its own"), "Space")
    press(page.get_by_role("tab", name="Media"), "Enter")
    press(page.get_by_role("checkbox", name="up to the step shown"), "Space")
    expect(page).to_have_url(re.compile("upto=1"))
    press(page.get_by_role("tab", name="Log"), "Enter")
    expect(page.get_by_text("No simulation recorded this run")).to_be_visible()


def test_sections_of_the_repository(served: Process, visit: Callable[..., Any]) -> None:
    visitor = visit(served)
    page = visitor.visit("/repository")
    press(page.get_by_role("button", name="Machine"), "Enter")
    expect(page.get_by_role("term").filter(has_text="memory total")).to_be_visible()
    visitor.look("machine")
    press(page.get_by_role("button", name="Unreachable"), "Enter")
    expect(page.get_by_text("Every object is reachable.")).to_be_visible()
    press(page.get_by_role("button", name="History of a ref"), "Enter")
    press(page.get_by_role("combobox", name="ref", exact=True), "ArrowDown")
    press(page.get_by_role("button", name="Storage"), "Enter")
    expect(page.get_by_role("grid", name="Bytes by kind")).to_be_visible()


def test_groups_of_runs_have_bands(tmp_path: Path, visit: Callable[..., Any]) -> None:
    with Repository.init(tmp_path / "r") as repo:
        for number, value in enumerate((1.0, 3.0, 5.0, 7.0)):
            with repo.recorder(f"run{number}", config={"lr": number // 2}) as recorder:
                recorder.append(0.0, reset={"seed": number})
                recorder.append(1.0, 0, value, True, False)
    visitor = visit(tmp_path / "r")
    page = visitor.visit("/best")
    press(page.get_by_role("combobox", name="by", exact=True), "ArrowDown")
    groups = page.get_by_role("grid", name="Groups")
    expect(groups.get_by_role("row").nth(1)).to_contain_text("2")
    expect(groups.get_by_role("row").nth(1)).to_contain_text("−10.706 … 14.706")  # t(1) = 12.706
    expect(groups.get_by_role("row").nth(2)).to_contain_text("6")
    chart = page.get_by_role("application", name=re.compile("^Mean return of groups"))
    press(chart, "Home")
    expect(page.get_by_text(re.compile(r"config.lr = 0 2, config.lr = 1 6$"))).to_be_attached()
    visitor.look("bands")


def test_a_cluster_is_shown(tmp_path: Path, visit: Callable[..., Any]) -> None:
    import gymnasium

    from simgit.gym import Recorder

    made = gymnasium.make("simgit/SimKube-v0")
    with Recorder(made, tmp_path / "r", provenance=False, self_check=False) as recorder:
        recorder.reset(seed=3)
        for action in (1, 2):
            recorder.step(action)
    with Repository.open(tmp_path / "r", read_only=True) as repo:
        ready = repo.state("main@2").info["ready"]
    visitor = visit(tmp_path / "r")
    page = visitor.visit("/run/main?step=1")
    press(page.get_by_role("tab", name="Cluster"), "Enter")
    expect(page.get_by_role("meter", name=re.compile("^cpu: ")).first).to_be_visible(timeout=60_000)
    page.keyboard.press("ArrowRight")  # to the next tab
    press(page.get_by_role("tab", name="Cluster"), "Enter")
    press(page.get_by_role("button", name="Next state"), "Enter")
    panel = page.get_by_role("tabpanel")
    expect(panel.get_by_text(f"{ready} ready").first).to_be_visible()
    press(panel.get_by_text(re.compile(r"\d+ events?$")), "Enter")
    visitor.look("run-cluster")
