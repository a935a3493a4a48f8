"""What the page shows is what was recorded: exact numbers, all of them, of the run as it is."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simgit.repository import Repository
from tests.support.web import Process, serving

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect

BIG = 2**60 + 1
COUNTER = 12345614
STATES = 36
EPISODE = 3


def commit(repo: Repository, run: str, states: int, first: float = 0.0) -> None:
    """Record states whose observations are first, first + 1, …"""
    for step in range(states):
        repo.commit(np.array([first + step]), 0, 1.0, False, False, run=run)


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("exact")
    with Repository.init(where) as repo:
        with repo.recorder("main", config={"lr": 0.1}) as recorder:
            for step in range(STATES):
                loss = math.inf if step == 7 else 1_000_000.2 + step / 1000
                info = {
                    "loss": loss,
                    "nan": np.array(math.nan, np.float32),
                    "big": np.array(BIG + 2 * step),
                    "both": np.array([BIG, BIG + step]),
                    "wave": np.array([3 + 1j * step, -1j]),
                    "names": np.array([f"n{i + (step if i < 3 else 0)}" for i in range(70)]),
                }
                what: dict[str, Any] = {"reset": {}} if step % EPISODE == 0 else {}
                taken = () if what else (0, 1.0, step % EPISODE == EPISODE - 1, False)
                recorder.append(np.array([COUNTER + step]), *taken, info=info, **what)
        with repo.recorder("long") as recorder:
            for step in range(1200):
                recorder.append(np.array([float(step)]), 0, 1.0, False, False)
        for name in ("moved", "again", "config"):
            commit(repo, name, 5)
    return where


@pytest.fixture(scope="module")
def server(where: Path) -> Iterator[Process]:
    with serving(where) as server:
        yield server


def downloaded(page: Any) -> list[dict[str, str]]:
    with page.expect_download() as begun:
        page.get_by_role("button", name="⤓ csv").click()
    with Path(begun.value.path()).open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_curve_is_exact_and_whole(server: Process, visit: Callable[..., Any]) -> None:
    visitor = visit(server)
    page = visitor.visit("/run/main?y=info.loss")
    expect(page.get_by_text("all states")).to_be_visible()
    expect(page.locator(".legend")).to_contain_text("1000000.235")
    losses = [math.inf if step == 7 else 1_000_000.2 + step / 1000 for step in range(STATES)]
    rows = downloaded(page)
    assert [float(each["mean"]) for each in rows] == losses
    assert rows[7]["max"] == "inf"
    drawn = page.locator(".brush canvas").evaluate(
        "(canvas) => canvas.getContext('2d')"
        ".getImageData(0, 0, canvas.width, canvas.height).data.some((each) => each)"
    )
    assert drawn
    # of a zoomed curve with all that is drawn: the first bucket began before
    page = visitor.visit("/run/long?y=observation[0]&from=3&to=1100")
    expect(page.get_by_text("4 states a bucket")).to_be_visible()
    rows = downloaded(page)
    assert [int(each["step"]) for each in rows] == [*range(0, 1101, 4)]
    assert [float(each["mean"]) for each in rows[:2]] == [1.5, 5.5]
    page = visitor.visit("/run/main?y=observation[0]")
    expect(page.get_by_text("all states")).to_be_visible()
    assert [int(each["mean"]) for each in downloaded(page)] == [*range(COUNTER, COUNTER + STATES)]
    page = visitor.visit("/run/main?y=observation[0]&x=episode")
    expect(page.get_by_text("all states")).to_be_visible()
    values = np.arange(COUNTER, COUNTER + STATES).reshape(-1, EPISODE)
    assert [
        [int(each["episode"]), *(float(each[name]) for name in ("mean", "min", "max"))]
        for each in downloaded(page)
    ] == [
        [episode, row.mean(), row.min(), row.max()] for episode, row in enumerate(values, start=1)
    ]


@pytest.mark.slow
def test_values_are_shown_as_they_are(server: Process, visit: Callable[..., Any]) -> None:
    page = visit(server).visit("/run/main?step=2")
    state = page.get_by_role("region", name="State", exact=True)
    expect(state).to_have_attribute("data-step", "2")

    def value(name: str) -> Any:
        found = state.locator(".value").filter(has=page.get_by_text(name, exact=False))
        return found.filter(has_not=page.locator(".value")).filter(has_text=name).first

    expect(value("nan")).to_contain_text("NaN")
    expect(value("nan")).to_contain_text("=")
    expect(value("loss")).to_contain_text("1000000.202")
    expect(value("big")).to_contain_text(str(BIG + 4))
    expect(value("big")).to_contain_text("+2")
    elements = state.get_by_role("list", name="Elements of both").get_by_role("listitem")
    expect(elements.nth(0)).to_contain_text(str(BIG))
    expect(elements.nth(0)).to_contain_text("=")
    expect(elements.nth(1)).to_contain_text(str(BIG + 2))
    expect(elements.nth(1)).to_contain_text("+1")
    wave = state.get_by_role("list", name="Elements of wave").get_by_role("listitem")
    expect(wave).to_have_count(2)
    expect(wave.nth(0)).to_contain_text("3 + 2i")
    expect(wave.nth(0)).to_contain_text("was 3 + 1i")
    expect(wave.nth(1)).to_contain_text("0 − 1i")
    expect(value("names")).to_contain_text("3 elements changed")


@pytest.mark.slow
def test_a_run_that_was_moved_and_grew_is_another_history(
    where: Path, server: Process, visit: Callable[..., Any]
) -> None:
    visitor = visit(server)
    for name in ("moved", "again"):
        page = visitor.visit(f"/run/{name}?step=3&tab=states")
        state = page.get_by_role("region", name="State", exact=True)
        expect(state.get_by_role("list", name="Elements of observation")).to_contain_text("3")
        with Repository.open(where) as repo:
            with repo.transaction():
                if name == "moved":
                    repo.reset("moved@0", run=name)
                else:
                    repo.delete_run(name)
                commit(repo, name, 12, first=100)
            now = repo.state(f"{name}@3")
        expect(state.locator("code.oid")).to_have_attribute("title", now.oid.hex())
        row = page.get_by_role("grid", name="States").get_by_text(now.oid.hex()[:8])
        expect(row.first).to_be_visible()


@pytest.mark.slow
def test_the_last_state_is_shown_where_the_end_is(
    server: Process, visit: Callable[..., Any]
) -> None:
    page = visit(server).visit(f"/run/main?y=reward&from=30&to={STATES - 1}")
    expect(page.get_by_text("all states")).to_be_visible()
    rows = [int(each["step"]) for each in downloaded(page)]
    assert rows == [step for step in range(30, STATES) if step % EPISODE]


RUN = """async ([name, member]) => {
    const at = document.querySelector('script[src$="main.js"]').src;
    const { runs } = await import(at.replace("main.js", "core/runs.js"));
    return runs.value.get(name)?.[member] ?? null;
}"""


@pytest.mark.slow
def test_settings_times_and_writers_of_runs_are_those_of_now(
    where: Path, server: Process, visit: Callable[..., Any]
) -> None:
    page = visit(server).visit("/run/config?tab=config")
    settings = page.get_by_role("tabpanel")

    def known(member: str, wanted: Callable[[Any], bool]) -> Any:
        """Wait until the page has a member as it is wanted."""
        for _ in range(100):
            found = page.evaluate(RUN, ["config", member])
            if wanted(found):
                return found
            page.wait_for_timeout(100)
        raise AssertionError(f"{member} is {found!r}")

    with Repository.open(where) as repo:
        repo.configure("config", {"lr": 0.25})
        expect(settings).to_contain_text("0.25")
        before = known("created", lambda found: found is not None)
        with repo.recorder("config") as recorder:
            recorder.append(np.array([9.0]), 0, 1.0, False, False)
            recorder.flush()
            known("writer", lambda found: found is not None)
        known("writer", lambda found: found is None)
        repo.set_status("config", "completed")
        known("ended", lambda found: found is not None)
        with repo.transaction():
            repo.delete_run("config")
            repo.create_run("config", config={"lr": 0.75}, seed=7)
            commit(repo, "config", 3)
        expect(settings).to_contain_text("0.75")
        known("created", lambda found: found != before)
        known("seed", lambda found: found == 7)
