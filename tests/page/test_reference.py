"""The screen of the HTTP API."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simgit.repository import Repository
from tests.support.web import Process

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect


@pytest.mark.slow
def test_an_operation_is_found_and_tried(
    recorded: Path, served: Process, visit: Callable[..., Any]
) -> None:
    with Repository.open(recorded, read_only=True) as repo:
        oid = repo.resolve("main@2").hex()
    visitor = visit(served)
    page = visitor.page
    page.get_by_role("link", name="API", exact=True).click()
    expect(page.get_by_text("GET", exact=True).first).to_be_visible()
    search = page.get_by_role("searchbox", name="Search the operations")
    search.focus()  # all of it by keyboard
    page.keyboard.type("states revision get")
    summary = page.get_by_text("/v1/states/{revision}").first
    expect(summary).to_be_visible()
    expect(page.get_by_text("/v1/gc")).to_have_count(0)
    visitor.look("reference")
    summary.click()
    form = page.get_by_role("form", name="Try GET /v1/states/{revision}")
    form.get_by_label("revision").focus()
    page.keyboard.type("main@2")
    expect(form).to_contain_text("curl -H")
    expect(form).to_contain_text("/v1/states/main%402")
    page.keyboard.press("Enter")
    answer = form.get_by_role("region", name="Answer")
    expect(answer).to_contain_text('"step": 2')
    assert json.loads(answer.inner_text())["oid"] == oid
    visitor.look("reference-answer")
    visitor.expects("states/nothing", 404)
    form.get_by_label("revision").fill("nothing")
    page.keyboard.press("Enter")
    expect(answer).to_contain_text("NotFound")


@pytest.mark.slow
def test_every_operation_is_listed(
    recorded: Path, served: Process, visit: Callable[..., Any]
) -> None:
    from simgit.server.application import application
    from simgit.server.gate import Access

    with Repository.open(recorded, read_only=True) as repo:
        paths = application(repo, Access(tokens={})).openapi()["paths"]
    wanted = sum(len(methods) for methods in paths.values())
    page = visit(served).visit("/reference")
    expect(page.get_by_text(f"{wanted} operations")).to_be_visible()
    assert page.locator("details").count() == wanted
