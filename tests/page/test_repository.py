"""The screen of the repository."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from simgit.repository import Repository
from tests.support.web import Process

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect


def routes(visitor: Any) -> dict[str, Any]:
    """Return the routes that the server has."""
    address = visitor.server.address
    headers = {"Authorization": f"Bearer {address['tokens']['full']}"}
    with urlopen(Request(f"{address['url']}v1/openapi.json", headers=headers)) as answer:
        found: dict[str, Any] = json.load(answer)["paths"]
    return found


@pytest.mark.slow
def test_operations_are_undone_and_redone(copied: Path, visit: Callable[..., Any]) -> None:
    visitor = visit(copied)
    page = visitor.page
    page.get_by_role("link", name="Repository", exact=True).click()
    grid = page.get_by_role("grid", name="Operations")
    expect(grid.get_by_text("tag start main@0")).to_be_visible()
    grid.get_by_text("branch gentle main@100").click()
    with Repository.open(copied, read_only=True) as repo:
        number = next(each.number for each in repo.operations() if "gentle" in each.arguments)
    panel = page.get_by_role("region", name=f"Operation {number}")
    expect(panel.get_by_role("list", name="Changes of operation")).to_contain_text("runs/gentle")
    expect(panel.get_by_role("list", name="Changes of operation")).to_contain_text("at step 100")
    visitor.look("operations")
    panel.get_by_role("button", name=f"Undo {number}").click()
    expect(page.get_by_text(f"simgit undo {number}")).to_be_visible()
    expect(grid.get_by_role("row").nth(1)).to_contain_text(f"reverts {number}")
    with Repository.open(copied, read_only=True) as repo:
        assert "gentle" not in repo.runs
    page.get_by_role("button", name="Redo").focus()  # the rest by keyboard
    page.keyboard.press("Enter")
    expect(grid.get_by_role("row").nth(1)).to_contain_text("POST redo")
    with Repository.open(copied, read_only=True) as repo:
        assert "gentle" in repo.runs
    grid.focus()
    page.keyboard.press("ArrowDown")
    expect(page).to_have_url(re.compile(f"at={number - 1}"))
    page.get_by_role("button", name="Restore to here").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text(f"after operation {number - 1}")
    visitor.look("restore")
    page.get_by_role("button", name="Restore", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text(f"simgit op restore {number - 1}")).to_be_visible()
    with Repository.open(copied, read_only=True) as repo:
        assert sorted(repo.runs) == ["high-lr", "main"]
    page.set_viewport_size({"width": 800, "height": 860})
    visitor.look("operations-narrow")


@pytest.mark.slow
def test_tags_settings_storage_and_history(copied: Path, visit: Callable[..., Any]) -> None:
    visitor = visit(copied)
    page = visitor.visit("/repository?tab=tags")
    form = page.get_by_role("form", name="New tag")
    form.get_by_label("tag").fill("v1")
    form.get_by_label("at").fill("main@200")
    form.get_by_label("message").fill("before the change")
    visitor.look("tags")
    page.keyboard.press("Enter")
    grid = page.get_by_role("grid", name="Tags")
    expect(grid.get_by_text("before the change")).to_be_visible()
    with Repository.open(copied, read_only=True) as repo:
        assert repo.resolve("tags/v1") == repo.resolve("main@200")
    grid.get_by_role("button", name="Delete the tag start").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(grid.get_by_text("start", exact=True)).to_have_count(0)
    expect(page.get_by_text("simgit tag -d start")).to_be_visible()

    page.get_by_role("button", name="Settings").focus()
    page.keyboard.press("Enter")
    field = page.get_by_role("spinbutton", name="gc.grace")
    field.focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("7")
    page.keyboard.press("Tab")
    expect(page.get_by_text("simgit config --repository gc.grace=7")).to_be_visible()
    with Repository.open(copied, read_only=True) as repo:
        assert repo.settings()["gc.grace"] == 7
    visitor.look("settings")

    page.get_by_role("button", name="Storage").click()
    with Repository.open(copied, read_only=True) as repo:
        states = repo.stats().kinds["state"].count
    row = page.get_by_role("grid", name="Bytes by kind").get_by_role("row", name="states")
    expect(row).to_contain_text(str(states))
    visitor.look("storage")
    page.get_by_role("button", name="History of a ref").click()
    page.get_by_role("combobox", name="ref", exact=True).select_option("gentle")
    expect(page.get_by_role("grid", name="History of gentle")).to_contain_text("branch")
    visitor.look("history")
    page.get_by_role("button", name="Unreachable").click()
    expect(page.get_by_text("Every object is reachable.")).to_be_visible()


@pytest.mark.slow
def test_a_token_that_reads_is_offered_nothing_else(
    served: Process, visit: Callable[..., Any]
) -> None:
    page = visit(served, level="view").visit("/repository")
    expect(page.get_by_role("button", name=re.compile("Look at"))).to_be_visible()
    for name in ("Undo", "Redo", "Restore"):
        expect(page.get_by_role("button", name=re.compile(name))).to_have_count(0)
    page.get_by_role("button", name="Tags").click()
    expect(page.get_by_role("grid", name="Tags").get_by_text("start")).to_be_visible()
    expect(page.get_by_role("button", name="Create")).to_have_count(0)
    expect(page.get_by_role("button", name=re.compile("Delete"))).to_have_count(0)


@pytest.mark.slow
def test_the_page_shows_what_was(
    recorded: Path, served: Process, visit: Callable[..., Any]
) -> None:
    visitor = visit(served)
    if "as_of" not in str(routes(visitor)["/v1/runs"]["get"]["parameters"]):
        pytest.skip("this server shows the present only")
    with Repository.open(recorded, read_only=True) as repo:
        found = [each.number for each in repo.operations() if "high-lr" in each.arguments]
    page = visitor.visit(f"/repository?at={found[0]}")
    page.get_by_role("button", name=f"Look at {found[0]}").click()
    expect(page.get_by_text(f"As it was after operation {found[0]}")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("Undo|Redo|Restore"))).to_have_count(0)
    page.get_by_role("link", name="Runs", exact=True).click()
    expect(page.get_by_role("link", name="high-lr")).to_be_visible()
    expect(page.get_by_role("link", name="gentle")).to_have_count(0)
    expect(page.get_by_role("button", name="Start a simulation")).to_have_count(0)
    assert f"as_of={found[0]}" in page.url
    visitor.look("past")
    page.get_by_role("button", name="Back to now").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="gentle")).to_be_visible()
    assert "as_of" not in page.url


@pytest.mark.slow
def test_jobs_run_and_say_what_they_found(copied: Path, visit: Callable[..., Any]) -> None:
    visitor = visit(copied)
    page = visitor.page
    page.get_by_role("link", name="Repository", exact=True).click()
    page.get_by_role("button", name="Upkeep").click()
    if "/v1/jobs" not in routes(visitor):
        visitor.expects("jobs", 404)
        expect(page.get_by_text("Jobs are not available here")).to_be_visible()
        return
    page.get_by_role("button", name="fsck").click()
    grid = page.get_by_role("grid", name="Jobs")
    expect(grid.get_by_text("completed")).to_be_visible(timeout=30_000)
    result = page.get_by_role("region", name="Result of job")
    expect(result).to_contain_text("clean")
    visitor.look("upkeep")
    page.get_by_role("button", name="gc …").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("nothing to remove", timeout=30_000)
    visitor.look("gc")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="export", exact=True).click()
    expect(grid.get_by_role("link", name="save the bundle")).to_be_visible(timeout=30_000)
