"""The screen of one run."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from simgit.live.processes import log_path
from simgit.live.records import Records
from simgit.repository import Repository
from tests.support.web import Process, serving

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
PIXELS = """image => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    canvas.getContext("2d").drawImage(image, 0, 0);
    return [image.naturalWidth, canvas.toDataURL()];
}"""


@pytest.fixture(scope="module")
def written(
    recorded: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Process]]:
    """A copy for the stories that write, and its server."""
    where = Path(shutil.copytree(recorded, tmp_path_factory.mktemp("written") / "copied"))
    with Repository.open(where) as repo:
        repo.trust()  # a copy is a stranger's
    with serving(where) as server:
        yield where, server


def at(page: Any, step: int, repo: Repository, run: str = "main") -> None:
    """Wait until the state of a step is shown, which has the oid that the repository says."""
    panel = page.get_by_role("region", name="State", exact=True)
    heading = panel.get_by_role("heading", name=f"State {step}", exact=True)
    expect(heading).to_be_visible(timeout=60_000)
    expect(panel.get_by_text(repo.resolve(f"{run}@{step}").hex()[:12], exact=True)).to_be_visible()


@pytest.mark.slow
def test_a_run_is_looked_through_by_mouse(
    recorded: Path, served: Process, visit: Callable[..., Any]
) -> None:
    visitor = visit(served)
    page = visitor.visit("/run/main?step=200")
    with Repository.open(recorded) as repo:
        episodes = {each.number: each for each in repo.episodes("main")}
        at(page, 200, repo)
        page.get_by_role("button", name="Next state").click()
        at(page, 201, repo)
        page.get_by_role("button", name="Newest state").click()
        at(page, repo.runs["main"].step, repo)
        page.get_by_role("slider", name="Episode", exact=True).fill("3")
        at(page, episodes[3].start, repo)
        page.get_by_role("tab", name="Episodes").click()
        page.get_by_role("grid", name="Episodes").get_by_role(
            "gridcell", name="5", exact=True
        ).click()
        at(page, episodes[5].start, repo)
        visitor.look("run-episodes")
        page.get_by_role("tab", name="Curves").click()
        expect(page.get_by_role("application", name=re.compile("Curves of return"))).to_be_visible()
        page.get_by_text("Compare with").click()
        page.get_by_role("group", name="What can be done").get_by_role(
            "link", name="gentle"
        ).hover()
        visitor.look("run")


@pytest.mark.slow
def test_a_state_is_rendered(served: Process, visit: Callable[..., Any]) -> None:
    page = visit(served).visit("/run/main?step=2")
    image = page.get_by_role("img", name="The state as it is rendered")
    seen = []
    for step in (2, 3, 4, 5):
        expect(image).to_have_attribute("data-step", str(step), timeout=15_000)
        width, pixels = image.evaluate(PIXELS)
        assert width == 600
        seen.append(pixels)
        page.get_by_role("button", name="Next state").click()
    assert len({*seen}) > 1


@pytest.mark.slow
def test_a_run_is_looked_through_by_keyboard(
    recorded: Path, served: Process, visit: Callable[..., Any]
) -> None:
    visitor = visit(served)
    page = visitor.visit("/run/main?step=100")
    keys = page.keyboard
    with Repository.open(recorded) as repo:
        at(page, 100, repo)
        episode = repo.state("main@100").episode
        starts = {each.number: each.start for each in repo.episodes("main")}
        keys.press("ArrowRight")
        at(page, 101, repo)
        keys.press("ArrowLeft")
        keys.press("ArrowLeft")
        at(page, 99, repo)
        keys.press("Shift+ArrowRight")
        at(page, starts[episode + 1], repo)
        keys.press("Home")
        at(page, 0, repo)
        expect(page.get_by_text("none: the first state")).to_be_visible()
        keys.press("Space")
        expect(page.get_by_role("heading", name=re.compile(r"State [1-9]\d*$"))).to_be_visible()
        keys.press("Space")
        expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
        keys.press("Home")
        page.get_by_role("textbox", name="Jump to a state that fulfils").focus()
        keys.type("terminated")
        keys.press("Enter")
        first = next(s.step for s in repo.trajectory("main") if s.terminated)
        at(page, first, repo)
        expect(page).to_have_url(re.compile(f"step={first}"))
        page.get_by_role("tab", name="Curves").focus()
        keys.press("ArrowRight")
        keys.press("ArrowRight")
        expect(page.get_by_role("grid", name="States")).to_be_visible()
        expect(page).to_have_url(re.compile("tab=states"))
        page.get_by_role("grid", name="States").focus()
        keys.press("ArrowDown")
        at(page, first + 1, repo)


@pytest.mark.slow
def test_states_are_filtered_and_a_wrong_condition_is_said(
    recorded: Path, served: Process, visit: Callable[..., Any]
) -> None:
    visitor = visit(served)
    page = visitor.visit("/run/main?tab=states&states=terminated")
    with Repository.open(recorded) as repo:
        count = sum(1 for s in repo.trajectory("main") if s.terminated)
    expect(page.get_by_text(f"{count} states", exact=True)).to_be_visible()
    visitor.look("run-states")
    visitor.expects("log/", 422)
    visitor.visit("/run/main?tab=states&states=retrun+>+1")
    expect(page.get_by_role("alert")).to_contain_text("retrun")


@pytest.mark.slow
def test_a_state_is_tagged(written: tuple[Path, Process], visit: Callable[..., Any]) -> None:
    copied, server = written
    visitor = visit(server)
    page = visitor.visit("/run/main?step=7")
    page.get_by_role("button", name="Tag", exact=True).click()
    page.get_by_role("textbox", name="name").fill("lucky")
    expect(page.get_by_text("simgit tag lucky main@7")).to_be_visible()
    visitor.look("run-tag")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("definition").get_by_text("lucky", exact=True)).to_be_visible()
    with Repository.open(copied) as repo:
        assert repo.resolve("lucky") == repo.resolve("main@7")


@pytest.mark.slow
def test_media_and_attachments_are_shown(
    written: tuple[Path, Process], visit: Callable[..., Any]
) -> None:
    import io

    from PIL import Image

    copied, server = written
    with Repository.open(copied) as repo:
        for step in (10, 20):
            data = io.BytesIO()
            Image.new("RGB", (64, 48), (8 * step, 90, 160)).save(data, "PNG")
            repo.attach(f"main@{step}", "view", data.getvalue())
        repo.attach("main@20", "note", b"all went well")
        repo.attach("main@20", "scores", {"best": 1.5, "names": ["a", "b"]})
    visitor = visit(server)
    page = visitor.visit("/run/main?step=20&tab=media")
    expect(page.get_by_role("img", name="view at step 10")).to_be_visible()
    expect(page.get_by_text("all went well")).to_be_visible()
    page.get_by_role("button", name="scores", exact=True).click()
    expect(page.get_by_text("1.5", exact=True)).to_be_visible()
    visitor.look("run-media")
    page.get_by_role("combobox", name="kind").select_option("texts")
    expect(page.get_by_text("1 medium")).to_be_visible()


@pytest.mark.slow
def test_a_run_that_grows_is_followed_from_its_tip(
    written: tuple[Path, Process], visit: Callable[..., Any]
) -> None:
    copied, server = written
    visitor = visit(server)
    page = visitor.visit("/run/gentle")
    with Repository.open(copied) as repo:
        at(page, 100, repo, "gentle")
        repo.commit([0.0, 0.0, 0.0, 0.0], 1, 2.5, run="gentle")
        at(page, 101, repo, "gentle")
        expect(page.get_by_text("2.5", exact=True)).to_be_visible()
        page.keyboard.press("ArrowLeft")
        at(page, 100, repo, "gentle")
        repo.commit([0.0, 0.0, 0.0, 0.0], 1, 3.5, run="gentle")
        expect(page.get_by_text("of 102")).to_be_visible()
        at(page, 100, repo, "gentle")


@pytest.mark.slow
def test_a_simulation_is_paused_resumed_and_stopped(
    written: tuple[Path, Process], visit: Callable[..., Any]
) -> None:
    copied, server = written
    url, headers = f"{server.url}simulations", server.headers
    given = {
        "type": "demo",
        "run": "swing",
        "overrides": {"steps": 100_000, "pace": 0.002, "ask": -1},
    }
    assert httpx.post(url, json=given, headers=headers, timeout=30).status_code == 201
    try:
        visitor = visit(server)
        page = visitor.visit("/run/swing?tab=log")
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_text("simgit sim pause swing")).to_be_visible()
        expect(page.get_by_text("● live", exact=True)).to_have_count(2)  # it stands at the tip
        page.get_by_role("button", name="Resume").click()
        line = page.get_by_role("log", name="Log").get_by_text("episode over").first
        expect(line).to_be_visible(timeout=15_000)
        visitor.look("run-log")
        page.get_by_role("button", name="Stop").click()
        expect(page.get_by_text("simgit sim stop swing")).to_be_visible()
        expect(page.get_by_role("button", name="Stop")).to_have_count(0)
        with Repository.open(copied) as repo:  # a long log is read from its end
            record = Records(repo).find("swing")
            assert record is not None and repo.directory is not None
            with log_path(repo.directory, record.execution).open("a") as log:
                log.writelines(f"line {number}\n" for number in range(1500))
        page = visitor.visit("/run/swing?tab=log")
        expect(page.get_by_text("200 of 200 lines")).to_be_visible()
        expect(page.get_by_text("line 1499", exact=True)).to_be_visible()
        page.get_by_role("button", name="Read older lines").click()
        expect(page.get_by_text("1000 of 1000 lines")).to_be_visible()
        page.get_by_role("button", name="Read older lines").click()
        expect(page.get_by_text("episode over at step 200").first).to_be_attached()
        expect(page.get_by_role("button", name="Read older lines")).to_have_count(0)
    finally:
        httpx.post(f"{url}/kill/swing", json={}, headers=headers, timeout=30)


@pytest.mark.slow
def test_one_who_may_only_read_is_offered_nothing_to_do(
    recorded: Path, served: Process, visit: Callable[..., Any]
) -> None:
    visitor = visit(served, level="view", viewport={"width": 800, "height": 860})
    page = visitor.visit("/run/high-lr?tab=config")
    expect(page.get_by_role("link", name="main@200")).to_be_visible()
    expect(page.get_by_text("agent.lr")).to_be_visible()
    for name in ("Fork here f", "Tag", "Stop", "Pause"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)
    visitor.look("run-config-narrow")


@pytest.mark.slow
def test_branches_and_films_of_a_run(
    written: tuple[Path, Process], visit: Callable[..., Any]
) -> None:
    copied, server = written
    with Repository.open(copied) as repo:
        repo.commit([0.0, 0.0, 0.0, 0.0], 1, 2.5, run="high-lr")
        with repo.transaction():
            for number in range(700):
                repo.commit(float(number), run="long")
    visitor = visit(server)
    page = visitor.visit("/run/main?step=200")
    branches = page.get_by_role("navigation", name="Branches of this run")
    expect(branches.get_by_role("link")).to_have_text(["gentle", "high-lr"])
    branches.get_by_role("button", name="Step 100, where gentle begins").click()
    expect(page.get_by_role("heading", name="State 100", exact=True)).to_be_visible()
    branches.get_by_role("button", name="Step 200, where high-lr begins").click()
    page.get_by_role("definition").get_by_role("link", name="high-lr@201").click()
    expect(page.get_by_role("heading", name="high-lr", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name="State 201", exact=True)).to_be_visible()

    page = visitor.visit("/run/main?step=60")
    page.get_by_role("button", name="Film", exact=True).click()
    dialog = page.get_by_role("dialog", name="Film of main")
    expect(dialog.get_by_text(re.compile(r"\d+ frames of steps"))).to_be_visible()
    dialog.get_by_role("combobox", name="stretch").select_option("from step to step")
    dialog.get_by_role("textbox", name="first step").fill("3")
    dialog.get_by_role("textbox", name="last step").fill("9")
    dialog.get_by_role("combobox", name="format").select_option("GIF")
    expect(dialog.get_by_text("7 frames")).to_be_visible()
    expect(dialog.get_by_role("group", name="The command that does the same")).to_have_text(
        "simgit video main@2..main@9 --output main-2..main-9.gif"
    )
    dialog.get_by_role("button", name="Make the film").click()
    with page.expect_download() as download:
        dialog.get_by_role("link", name="Download").click()
    assert download.value.path().read_bytes().startswith(b"GIF89a")
    expect(dialog.get_by_role("img", name="Film of main")).to_be_visible()
    visitor.look("run-film")
    page.keyboard.press("Escape")

    page = visitor.visit("/run/long")
    page.get_by_role("button", name="Film", exact=True).click()
    dialog = page.get_by_role("dialog", name="Film of long")
    expect(dialog.get_by_text("No film can be made")).to_be_visible()
    expect(dialog.get_by_role("button", name="Make the film")).to_be_disabled()
    dialog.get_by_role("combobox", name="format").select_option("GIF")
    expect(dialog.get_by_text("700 frames, of which a film has at most 600")).to_be_visible()
    dialog.get_by_role("button", name="Take 2 states per frame").click()
    expect(dialog.get_by_text("351 frames")).to_be_visible()


@pytest.mark.slow
def test_a_person_plays_on_from_a_state(
    written: tuple[Path, Process], visit: Callable[..., Any]
) -> None:
    copied, server = written
    visitor = visit(server)
    page = visitor.visit("/run/main?step=3")
    page.get_by_role("button", name="Play on from here").press("Enter")
    dialog = page.get_by_role("dialog", name="Play on from main@3")
    play = dialog.get_by_role("button", name="Play on", exact=True)
    expect(play).to_be_enabled(timeout=60_000)
    dialog.get_by_role("textbox", name="steps from here").fill("3")
    expect(dialog.get_by_role("group", name="The command that does the same")).to_contain_text(
        "simgit sim start env --run play/main-1 --at main@3 --set id=CartPole-v1"
    )
    visitor.look("run-play-on")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="play/main-1")).to_be_visible(timeout=30_000)
    question = page.get_by_role("form", name="Question: which action?")
    expect(question.get_by_role("button", name="action 1")).to_be_visible(timeout=30_000)
    visitor.look("run-playing")
    page.keyboard.press("1")
    with Repository.open(copied) as repo:
        at(page, 4, repo, "play/main-1")
        expect(question).to_have_attribute("aria-busy", "false")
        question.get_by_role("button", name="action 0").click()
        at(page, 5, repo, "play/main-1")
        expect(question).to_have_attribute("aria-busy", "false")  # the next one is there
        page.keyboard.press("1")
        expect(question).to_have_count(0, timeout=30_000)
        at(page, 6, repo, "play/main-1")
        assert [each.action for each in repo.trajectory("play/main-1")][4:] == [1, 0, 1]
        assert repo.resolve("play/main-1@3") == repo.resolve("main@3")
