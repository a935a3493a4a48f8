"""What is chosen on the screen of all runs: words of the condition, groups, columns, views."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.web import Process

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect


@pytest.mark.slow
def test_a_condition_is_completed_by_keyboard(served: Process, visit: Callable[..., Any]) -> None:
    visitor = visit(served)
    page = visitor.page
    expect(page.get_by_role("link", name="gentle")).to_be_visible()
    page.keyboard.press("/")
    box = page.get_by_role("combobox", name="Filter the runs")
    expect(box).to_be_focused()
    page.keyboard.type("step > 150 and agent")
    option = page.get_by_role("option", name=re.compile("config.agent.lr setting"))
    expect(option).to_be_visible()
    expect(box).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("ArrowDown")
    expect(option).to_have_attribute("aria-selected", "true")
    visitor.look("completion")
    page.keyboard.press("Enter")
    expect(box).to_have_value("step > 150 and config.agent.lr")
    page.keyboard.type(" < 0.1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="gentle")).to_have_count(0)
    expect(page.get_by_role("link", name="high-lr")).to_be_visible()
    assert "where=step+%3E+150+and+config.agent.lr+%3C+0.1" in page.url
    page.keyboard.press("/")
    page.keyboard.press("Control+a")
    page.keyboard.type("stat")
    page.get_by_role("option", name=re.compile("^status field")).click()
    expect(box).to_have_value("status")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(box).not_to_be_focused()
    expect(box).to_have_value("step > 150 and config.agent.lr < 0.1")


@pytest.mark.slow
def test_groups_columns_and_views(served: Process, visit: Callable[..., Any]) -> None:
    visitor = visit(served)
    page = visitor.page
    page.get_by_label("group").select_option("config.push")
    expect(page.get_by_text("config.push = 0.5")).to_be_visible()
    page.get_by_label("group").select_option("")
    page.get_by_role("button", name="Columns").click()
    page.get_by_role("checkbox", name="config.agent.lr").check()
    page.get_by_role("checkbox", name="max(return)").check()
    page.get_by_role("combobox", name="Another column").fill("mean(len")
    page.get_by_role("option", name="mean(length, 10)").click()
    grid = page.get_by_role("grid", name="Runs")
    expect(grid.get_by_role("columnheader", name="mean(length, 10)")).to_be_visible()
    expect(grid.get_by_role("row", name=re.compile("high-lr"))).to_contain_text("0.01")
    visitor.look("columns")
    page.keyboard.press("Escape")
    expect(page.get_by_role("group", name="Columns")).to_have_count(0)

    page.get_by_role("button", name="Views").focus()  # the rest by keyboard
    page.keyboard.press("Enter")
    page.get_by_label("Name of this view").focus()
    page.keyboard.type("rates")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="rates")).to_be_visible()
    visitor.look("views")
    visitor.visit("/runs")
    expect(grid.get_by_role("columnheader", name="max(return)")).to_have_count(0)
    page.get_by_role("button", name="Views").focus()
    page.keyboard.press("Enter")
    page.get_by_role("link", name="rates").focus()
    page.keyboard.press("Enter")
    expect(grid.get_by_role("columnheader", name="max(return)")).to_be_visible()
    page.get_by_role("button", name="Views").click()
    page.get_by_role("button", name="Delete the view rates").click()
    expect(page.get_by_role("link", name="rates")).to_have_count(0)
    page.get_by_role("button", name="Undo", exact=True).last.click()
    page.get_by_role("button", name="Views").click()
    expect(page.get_by_role("link", name="rates")).to_be_visible()
