"""What an open page does when its server ends, and when many tabs are open."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simgit.repository import Repository
from tests.support.web import Process, serving

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
pytestmark = pytest.mark.slow


def test_a_server_that_is_started_again_loses_and_doubles_no_point(
    tmp_path: Path, visit: Callable[..., Any]
) -> None:
    where = tmp_path / "r"
    with Repository.init(where) as repo, repo.recorder("main") as recorder:
        for step in range(5):
            recorder.append(float(step), 0, float(step), False, False)
    first = Process(where, "--no-token")
    try:
        visitor = visit(first)
        page = visitor.visit("/run/main?y=reward")
        banner = page.get_by_role("banner")
        expect(page.get_by_text("step 4 of 4")).to_be_visible()
    finally:
        first.end()
    expect(banner.get_by_text("no connection")).to_be_visible()
    with Repository.open(where) as repo:
        repo.commit(5.0, 0, 5.0, run="main")
    port = re.search(r":(\d+)/", first.address["url"])
    assert port is not None
    with serving(where, "--no-token", "--port", port[1]):
        expect(banner.get_by_text("● live")).to_be_visible(timeout=30_000)
        expect(page.get_by_text("step 5 of 5")).to_be_visible()
        with Repository.open(where) as repo:
            repo.commit(6.0, 0, 6.0, run="main")
        expect(page.get_by_text("step 6 of 6")).to_be_visible()
        rows: list[list[str]] = []
        while len(rows) < 7:  # until the curve has been read again
            with page.expect_download() as saved:
                page.get_by_role("button", name="⤓ csv").click()
            text = saved.value.path().read_text()
            rows = [line.split(",") for line in text.splitlines()[1:]]
        assert [(int(row[2]), float(row[4])) for row in rows] == [(n, float(n)) for n in range(7)]
        page.close()
    of_the_end = re.compile("ERR_|status of 50")  # nobody was there, or was about to leave
    visitor.errors[:] = [each for each in visitor.errors if not of_the_end.search(each)]


def test_a_page_of_a_server_of_before_says_so(tmp_path: Path, visit: Callable[..., Any]) -> None:
    with Repository.init(tmp_path / "r") as repo:
        repo.commit(0.0, run="main")
    first = Process(tmp_path / "r")
    try:
        visitor = visit(first)
    finally:
        first.end()
    port = re.search(r":(\d+)/", first.address["url"])
    assert port is not None
    with serving(tmp_path / "r", "--port", port[1]):
        said = visitor.page.get_by_role("banner").get_by_text("the server was started anew")
        expect(said).to_be_visible(timeout=30_000)
        visitor.page.close()
    visitor.errors.clear()  # whatever was asked of a server that is not there, or refuses


def test_twelve_tabs_are_all_live(copied: Path, visit: Callable[..., Any]) -> None:
    visitor = visit(copied)
    pages = [visitor.page, *(visitor.context.new_page() for _ in range(11))]
    for page in pages[1:]:
        page.goto(visitor.server.address["url"] + "runs")
    for page in pages:
        expect(page.get_by_role("banner").get_by_text("● live")).to_be_visible(timeout=30_000)
    with Repository.open(copied) as repo:
        repo.branch("later", "main@5")
    for page in pages:
        found = page.get_by_role("grid", name="Runs").get_by_role("link", name="later")
        expect(found).to_be_visible(timeout=30_000)
