"""Simulations that are started, steered and forked from the page; the repository says what came."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from simgit.errors import SimgitError
from simgit.live import find
from simgit.live.inputs import inputs_of
from simgit.live.records import Records
from simgit.repository import Repository
from simgit.server.static import FOLDER
from tests.support.web import Process

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect

pytestmark = pytest.mark.skipif(
    not (FOLDER / "screens/run.js").exists(), reason="the control is a tab of the screen of a run"
)
PATIENCE = 30_000


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Return an empty repository; what was started in it is killed in the end."""
    where = tmp_path / "r"
    Repository.init(where).close()
    yield where
    with Repository.open(where) as repo:
        for run, record in Records(repo).all().items():
            if not record.is_over:
                find(repo, run).kill()


def tab_to(page: Any, wanted: Any) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(80):
        if wanted.evaluate("each => each === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError("it cannot be reached by Tab")


def until(holds: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + 60
    while not (found := holds()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)
    return found


def oids(repo: Repository, run: str) -> list[str]:
    return [each.oid.hex() for each in repo.trajectory(run)]


@pytest.mark.slow
def test_a_simulation_is_started_steered_and_stopped_by_mouse(
    place: Path, visit: Callable[..., Any]
) -> None:
    visitor = visit(place)
    page = visitor.page
    page.get_by_role("button", name="Start a simulation").click()
    dialog = page.get_by_role("dialog", name="Start a simulation")
    dialog.get_by_role("combobox", name="type").select_option("demo", timeout=2 * PATIENCE)
    for name, text in [("ask", "4"), ("pace", "0.01"), ("steps", "100000"), ("seed", "3")]:
        dialog.get_by_role("textbox", name=name).fill(text)
    command = (
        "simgit sim start demo --run demo-1 --set steps=100000 --set pace=0.01 --set ask=4 --seed 3"
    )
    expect(dialog.get_by_role("group", name="The command that does the same")).to_have_text(command)
    visitor.look("start")
    dialog.get_by_role("button", name="Start", exact=True).dblclick()
    asks = page.get_by_role("link", name="1 asks")
    asks.click(timeout=PATIENCE)
    question = page.get_by_role("form", name="Question: which torque?")
    expect(question.get_by_role("timer")).to_contain_text("default in 0:")
    question.get_by_role("textbox", name="torque").fill("heavy")
    question.get_by_role("button", name="Answer").click()
    expect(question.get_by_role("alert")).to_have_text("not a number: heavy")
    visitor.look("control-asking")
    question.get_by_role("textbox", name="torque").fill("1.5")
    question.get_by_role("button", name="Answer").click()
    done = page.get_by_role("region", name="What people did")
    expect(done).to_contain_text("answered “which torque?”: torque 1.5")
    expect(page.get_by_role("region", name="Control")).to_contain_text(
        "“which torque?” was answered by the page or the HTTP API: torque 1.5"
    )
    expect(asks).to_have_count(0)

    settings = page.get_by_role("region", name="Settings")
    settings.get_by_role("textbox", name="push").fill("0.5")
    settings.get_by_role("button", name="Apply from the next step").click()
    expect(done).to_contain_text("push 0.5")
    queries = page.get_by_role("region", name="Queries")
    queries.get_by_role("button", name="Ask").click()
    expect(queries).to_contain_text(re.compile(r"energy → .* ms, step \d+"))
    control = page.get_by_role("region", name="Control")
    control.get_by_role("button", name="Pause").click()
    expect(control.get_by_role("button", name="Resume")).to_be_visible()
    with Repository.open(place) as repo:
        paused = repo.runs["demo-1"].step
        assert find(repo, "demo-1").phase == "paused"
        time.sleep(0.2)
        assert repo.runs["demo-1"].step == paused
    visitor.look("control-paused")
    page.get_by_role("tab", name="Curves").click()
    page.get_by_text("1 mark", exact=True).press("Enter")
    mark = page.get_by_role("listitem").filter(has_text="push 0 → 0.5 from step")
    expect(mark).to_contain_text("by the page or the HTTP API")
    visitor.look("run-marks")
    page.get_by_role("tab", name="Control").click()
    control.get_by_role("button", name="Resume").click()
    expect(control.get_by_role("button", name="Pause")).to_be_visible()
    control.get_by_role("button", name="Stop").click()
    expect(control.get_by_role("button", name="Restart")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("region", name="Lines of the log")).to_contain_text("which torque?")

    with Repository.open(place) as repo:
        assert [*repo.runs] == ["demo-1"]  # a double click started one
        run = repo.runs["demo-1"]
        assert run.status == "paused" and run.step > paused and run.seed == 3
        assert run.overrides == {"steps": 100000, "pace": 0.01, "ask": 4}
        assert repo.state("demo-1@5").action.tolist() == [1.5]  # the fifth action was answered
        answer, change = inputs_of(repo, "demo-1")[0]
        assert answer.data["value"] == {"torque": 1.5} and answer.position == 5
        assert change.data["overrides"] == {"push": 0.5} and 5 < change.position <= paused + 1
        before = oids(repo, "demo-1")
        control.get_by_role("button", name="Restart").click()
        until(lambda: repo.runs["demo-1"].step > run.step + 1, "it goes on")
        control.get_by_role("button", name="Kill").click()
        page.get_by_role("dialog").get_by_role("button", name="Kill").click()
        expect(control).to_contain_text("crashed: SIGKILL by the page", timeout=PATIENCE)
        assert repo.runs["demo-1"].status == "crashed"
        assert oids(repo, "demo-1")[: len(before)] == before


@pytest.mark.slow
def test_a_state_is_forked_and_its_question_answered_by_keyboard(
    place: Path, visit: Callable[..., Any]
) -> None:
    with Repository.open(place) as repo:
        from simgit.live import Tracker

        with Tracker(repo) as tracker:
            config = {"steps": 40, "pace": 0, "ask": -1}
            assert tracker.start("demo", "first", config=config, seed=1).wait(60) == "completed"
    visitor = visit(place)
    page = visitor.page
    page.keyboard.press("j")
    page.keyboard.press("f")
    dialog = page.get_by_role("dialog", name=re.compile("^Fork first@"))
    expect(dialog.get_by_role("textbox", name="name")).to_be_focused()
    start = dialog.get_by_role("button", name="Fork & start")
    expect(start).to_be_enabled(timeout=PATIENCE)  # the types are known
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("First")
    expect(dialog.get_by_role("alert")).to_have_text("there is a run first already")
    expect(start).to_be_disabled()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("second")
    page.keyboard.press("Tab")
    page.keyboard.type("20")
    add = dialog.get_by_role("combobox", name="Add a setting")
    for name, text in [("ask", "30"), ("steps", "50")]:
        tab_to(page, add)
        page.keyboard.type(name)
        page.keyboard.press("Enter")
        field = dialog.get_by_role("textbox", name=f"{name}, new value")
        expect(field).to_be_focused()
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.type(text)
    expect(dialog.get_by_role("group", name="Settings that differ")).to_contain_text(
        "-1 (from first)".replace("-", "−")
    )
    expect(dialog.get_by_role("group", name="The command that does the same")).to_have_text(
        "simgit sim fork first@20 --run second --set ask=30 --set steps=50"
    )
    visitor.look("fork")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="second")).to_be_visible(timeout=PATIENCE)
    asks = page.get_by_role("link", name="1 asks")
    expect(asks).to_be_visible(timeout=PATIENCE)
    tab_to(page, asks)
    page.keyboard.press("Enter")
    torque = page.get_by_role("textbox", name="torque")
    torque.wait_for()
    tab_to(page, torque)
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("-1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="What people did")).to_contain_text("torque -1")
    with Repository.open(place) as repo:
        assert find(repo, "second").wait(60) == "completed"
        run = repo.runs["second"]
        assert run.branch_point == repo.resolve("first@20") and run.status == "completed"
        assert run.overrides == {"ask": 30, "steps": 50}
        assert oids(repo, "second")[:21] == oids(repo, "first")[:21]
        assert repo.state("second@31").action.tolist() == [-1.0]
        assert run.step == 50
    expect(
        page.get_by_role("region", name="Control").get_by_role("button", name="Fork")
    ).to_be_visible()


@pytest.mark.slow
def test_a_sweep_is_queued_and_runs_behind_one_another(
    place: Path, visit: Callable[..., Any]
) -> None:
    visitor = visit(place, "--workers", "2")
    page = visitor.page
    page.get_by_role("button", name="Start a simulation").click()
    dialog = page.get_by_role("dialog", name="Start a simulation")
    dialog.get_by_role("combobox", name="type").select_option("demo", timeout=2 * PATIENCE)
    dialog.get_by_role("textbox", name="name").fill("sweep")
    for name, text in [("ask", "-1"), ("pace", "0"), ("steps", "5"), ("seed", "1")]:
        dialog.get_by_role("textbox", name=name).fill(text)
    dialog.get_by_role("combobox", name="sweep").select_option("push")
    dialog.get_by_role("textbox", name="over").fill("0.1, 0.1")
    expect(dialog.get_by_role("alert")).to_have_text("two values are the same")
    dialog.get_by_role("textbox", name="over").fill("0.1, 0.2")
    expect(dialog).to_contain_text("2 runs: sweep/0.1, sweep/0.2")
    expect(dialog.get_by_role("group", name="The command that does the same")).to_have_text(
        'for value in 0.1 0.2; do simgit sim start demo --run "sweep/$value" --set steps=5 --set pace=0'
        ' --set ask=-1 --set "push=$value" --seed 1 --queue; done'
    )
    dialog.get_by_role("button", name="Queue 2 runs").click()
    expect(page.get_by_role("link", name="sweep/0.2")).to_be_visible(timeout=PATIENCE)
    with Repository.open(place) as repo:
        for value in (0.1, 0.2):
            assert find(repo, f"sweep/{value}").wait(60) == "completed"
            assert repo.runs[f"sweep/{value}"].config["push"] == value


@pytest.mark.slow
def test_who_may_not_start_is_told_why(served: Process, visit: Callable[..., Any]) -> None:
    visitor = visit(served, level="view")
    page = visitor.visit("/runs?at=gentle")
    page.get_by_role("grid", name="Runs").wait_for()
    page.keyboard.press("f")
    dialog = page.get_by_role("dialog", name="Fork gentle@100")
    expect(dialog.get_by_role("status")).to_contain_text("This token only reads")
    expect(dialog.get_by_role("button", name="Branch")).to_be_disabled()
    expect(dialog).to_contain_text("simgit branch gentle-2 gentle@100")


@pytest.mark.slow
def test_a_server_that_starts_nothing_branches_all_the_same(
    copied: Path, visit: Callable[..., Any]
) -> None:
    with Repository.open(copied) as repo:
        repo.distrust()
    visitor = visit(copied)
    page = visitor.visit("/runs?at=high-lr")
    page.get_by_role("grid", name="Runs").wait_for()
    page.keyboard.press("f")
    dialog = page.get_by_role("dialog", name="Fork high-lr@200")
    expect(dialog.get_by_role("status").first).to_contain_text("This server starts no simulations")
    dialog.get_by_role("combobox", name="Add a setting").fill("agent.lr")
    dialog.get_by_role("button", name="Add").click()
    value = dialog.get_by_role("textbox", name="agent.lr, new value")
    value.fill("0.1x")
    expect(dialog.get_by_role("alert")).to_have_text("not a number: 0.1x")
    value.fill("0.1")
    expect(dialog).to_contain_text("0.01 (from high-lr)")
    visitor.look("fork-branch")
    dialog.get_by_role("button", name="Branch").dblclick()
    expect(page.get_by_role("heading", name="high-lr-2")).to_be_visible()
    with Repository.open(copied) as repo:
        assert {*repo.runs} == {"main", "high-lr", "gentle", "high-lr-2"}
        run = repo.runs["high-lr-2"]
        assert run.overrides == {"agent": {"lr": 0.1}} and run.oid == repo.resolve("main@200")
        with pytest.raises(SimgitError):
            find(repo, "high-lr-2").phase  # noqa: B018
