"""What GymDash 0.1.4 offers works here: each public name with its counterpart and a test.

Its known defects are tests of ours, by name.
"""

from __future__ import annotations

import ast
import csv
import importlib.util
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simgit.live
from simgit import Repository
from simgit.live import Tracker
from tests.live.test_tracker import PATIENCE, ROOT, TYPES, oids, reach, start, until
from tests.support.web import Client

TABLE = Path(__file__).with_name("gymdash-0.1.4.tsv")
CLASSIFIER = f"{ROOT / 'examples' / 'classifier.py'}:classify"


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    with Repository.init(tmp_path / "r") as found:
        yield found


@pytest.fixture
def tracker(repo: Repository) -> Iterator[Tracker]:
    with Tracker(repo, workers=2) as found:
        yield found
        found.close(stop=True, timeout=5)


@pytest.fixture
def client(repo: Repository, tracker: Tracker) -> Iterator[Client]:
    found = Client(repo, tracker=tracker)
    yield found
    found.close()


def rows() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_every_name_has_a_counterpart_and_a_test() -> None:
    found = rows()
    assert len({(row["kind"], row["name"]) for row in found}) == len(found) == 463
    for row in found:
        assert all(cell and cell.strip() for cell in row.values()), row
        counterpart = row["counterpart"]
        assert (row["test"] == "-") == counterpart.startswith("-: "), row
        for owner, member in re.findall(r"\b(Control|Tracker|Simulation)\.(\w+)", counterpart):
            assert hasattr(getattr(simgit.live, owner), member), row


@pytest.mark.slow
def test_the_tests_of_the_table_are_there() -> None:
    for test in {row["test"] for row in rows()} - {"-"}:
        path, _, name = test.partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        functions = {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}
        assert name in functions, test


@pytest.mark.slow
def test_the_routes_of_the_table_are_there(client: Client) -> None:
    paths = client.app.openapi()["paths"]
    there = {(method.upper(), path.split("/")[2]) for path, all in paths.items() for method in all}
    for row in rows():
        for method, noun in re.findall(r"(GET|POST|DELETE) /v1/(\w+)", row["counterpart"]):
            assert (method, noun) in there, row


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_no_name_of_the_package_is_missing() -> None:
    spec = importlib.util.find_spec("gymdash")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("gymdash is not installed: its names are not compared")
    named = {row["name"].rpartition(".")[2] for row in rows()}
    missing = []
    for path in Path(spec.submodule_search_locations[0]).rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            is_class = isinstance(node, ast.ClassDef)
            if is_class and not node.name.startswith("_") and node.name not in named:
                missing.append(f"{path.name}: {node.name}")
    assert missing == []


@pytest.mark.slow
def test_a_raise_in_run_is_failed_with_its_traceback(tracker: Tracker, repo: Repository) -> None:
    one = start(tracker, "swing", "p", config={"raise_at": [5]}, seed=1)
    assert one.wait(PATIENCE) == "failed"
    assert b"the arm broke" in repo.attachment("p", "log")


@pytest.mark.slow
def test_a_raise_in_setup_does_not_run(tracker: Tracker, repo: Repository) -> None:
    one = start(tracker, "broken", "p")
    assert one.wait(PATIENCE) == "failed"
    assert one.reason == "InvalidInput: no gravity"
    assert repo.runs["p"].oid is None


def test_queued_is_not_done(repo: Repository) -> None:
    with Tracker(repo, workers=0) as tracker:
        one = tracker.queue(TYPES + "swing", "p", folder=ROOT)
        assert (one.phase, one.outcome) == ("queued", None)
        assert repo.runs["p"].ended is None
        one.stop()


@pytest.mark.slow
def test_callbacks_on_one_on_all_on_any_and_on_ended_ones(tracker: Tracker) -> None:
    told: list[tuple[str, list[str]]] = []
    both = [start(tracker, "swing", f"c/{n}", config={"steps": 20}, seed=n) for n in range(2)]
    name = lambda found: [each.run for each in found] if isinstance(found, list) else [found.run]  # noqa: E731
    for what in ("each", "any", "all"):
        tracker.when(what, both, "ended", lambda found, what=what: told.append((what, name(found))))
    assert tracker.wait(both, PATIENCE) == ["completed"] * 2
    until(lambda: len(told) == 4, "the callbacks")
    late: list[Any] = []
    tracker.when("all", both, "ended", late.append)
    until(lambda: len(late) == 1, "the callback on ended ones")
    kinds = sorted(what for what, _ in told)
    assert kinds == ["all", "any", "each", "each"]
    assert sorted(runs[0] for what, runs in told if what == "each") == ["c/0", "c/1"]
    assert next(sorted(runs) for what, runs in told if what == "all") == ["c/0", "c/1"]
    never = tracker.when("each", "none/", "ended", late.append)
    never.cancel()


@pytest.mark.slow
def test_settings_of_any_kind_are_read_back(tracker: Tracker, repo: Repository) -> None:
    """Configs without a family were read back as empty ones there."""
    given = {"steps": 3, "more": {"list": [1, 2.5, None, True], "text": "ü\n", "deep": {"a": {}}}}
    one = start(tracker, "swing", "p", config=given)
    assert one.wait(PATIENCE) == "completed"
    config = repo.runs["p"].config
    assert {key: config[key] for key in given} == given


@pytest.mark.slow
def test_a_repository_is_all_that_has_to_be_there(tmp_path: Path) -> None:
    """What a script wrote is there for whoever opens the directory, with nothing to load."""
    code = """
import simgit
with simgit.Repository.init("r") as repo, repo.recorder("script") as recorder:
    recorder.append([1.0])
    recorder.append([2.0], 0, 3.0)
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env={"PYTHONPATH": str(ROOT)})  # fmt: skip
    with Repository.open(tmp_path / "r", read_only=True) as repo:
        client = Client(repo)
        assert client.json("columns/script?field=reward")["reward"] == [None, 3.0]
        client.close()


@pytest.mark.slow
def test_every_viewer_gets_every_point(repo: Repository, client: Client) -> None:
    """Reading took points away from the other viewers there."""
    written = []
    seen: dict[str, list[float]] = {"one": [], "two": []}
    with repo.recorder("p") as recorder:
        for step in range(60):
            recorder.append(np.float64([step]), reward=float(step * step % 7))
            written.append(float(step * step % 7))
            recorder.flush()
            for viewer in ("one", "two") if step % 2 else ("one",):  # at a pace of its own
                here = seen[viewer]
                query = f"series?run=p&field=reward&width=1&from={len(here)}"
                [curve] = client.json(query)
                assert curve["step"] == [*range(len(here), step + 1)]
                here += curve["fields"]["reward"]["mean"]
    assert seen["one"] == seen["two"] == written


@pytest.mark.slow
def test_two_hundred_thousand_points_are_read_whole(repo: Repository, client: Client) -> None:
    """They took 8.2 s there; `make bench` has the time here."""
    rewards = np.arange(200_000, dtype=np.float64) % 11
    with repo.recorder("long") as recorder:
        for reward in rewards.tolist():
            recorder.append(0.0, reward=reward)
    found = client.get("columns/long?field=reward", headers={"Accept": "application/x-npy"})
    path = Path(str(repo.directory)) / "long.npy"
    path.write_bytes(found.content)
    assert np.array_equal(np.load(path), rewards)


@pytest.mark.slow
def test_an_ended_simulation_is_continued_over_http(
    client: Client, repo: Repository, tracker: Tracker
) -> None:
    config = {"id": "CartPole-v1", "steps": 100_000, "pace": 0.002}
    body = {"type": "env", "run": "p", "overrides": config, "seed": 1}
    assert client.post("simulations", json=body).status_code == 201
    until(lambda: (repo.runs["p"].step or 0) > 10, "ten states")
    tracker["p"].stop()
    stopped = repo.runs["p"].step
    assert client.json("simulations/p")["outcome"] == "stopped"
    assert client.json("runs/p")["status"] == "paused"
    assert client.post("simulations", json={"run": "p"}).status_code == 201
    until(lambda: (repo.runs["p"].step or 0) > stopped, "a state more")
    assert tracker["p"].kill() == "crashed"


@pytest.mark.slow
def test_files_that_a_script_writes_are_attached_by_step(
    tracker: Tracker, repo: Repository
) -> None:
    one = tracker.start("tests.compat.test_gymdash:films", "p", folder=ROOT)
    assert one.wait(PATIENCE) == "completed", one.lines()[0]
    there = {each.name: each for each in repo.history_attachments("p")}
    assert "notes.txt" not in there
    for step in (3, 8):
        assert repo.attachment(f"p@{step}", f"film-{step}.mp4").startswith(b"\0\0\0 ftyp")


def films(control: Any) -> None:
    """Writes files as a program does that knows nothing of simgit."""
    recorder = control.recorder()
    number = re.compile("[0-9]+")
    control.watch_folder(
        control.folder, "film-*.mp4", step=lambda name: int(number.findall(name)[0]), seconds=0.05
    )
    for step in control.range(12):
        recorder.append(np.float64([step]))
        if step in (5, 10):  # later than what they show
            (control.folder / f"film-{step - 2}.mp4").write_bytes(b"\0\0\0 ftypisom" + bytes(99))
            (control.folder / "notes.txt").write_text("not a film")
            time.sleep(0.4)


@pytest.mark.slow
def test_a_stage_is_part_of_the_progress(tracker: Tracker) -> None:
    one = tracker.start("tests.compat.test_gymdash:stages", "p", folder=ROOT)
    reach(one, "running")
    stages = []
    for stage in ("train", "validate"):
        until(lambda stage=stage: (one.progress or {}).get("stage") == stage, stage)
        stages.append(one.progress["stage"])
        one.configure({"stage": stage})
    assert one.wait(PATIENCE) == "completed", one.lines()[0]
    assert stages == ["train", "validate"]


def stages(control: Any) -> None:
    """Says what it does, until it is told that this was seen."""
    recorder = control.recorder()
    for stage in ("train", "validate"):
        control.progress(1, 2, stage)
        while control.config.get("stage") != stage:
            recorder.append(np.float64([0.0]))  # a setting applies from the next state on
            control.check()
            time.sleep(0.01)


@pytest.mark.slow  # three processes with torch
def test_a_classifier_that_is_stopped_goes_on_to_the_same_states(
    tracker: Tracker, repo: Repository
) -> None:
    """The counterpart of its example, which cannot be continued."""
    pytest.importorskip("torch")
    whole = tracker.start(CLASSIFIER, "whole", config={"steps": 60}, seed=1)
    one = tracker.start(CLASSIFIER, "one", config={"steps": 100_000}, seed=1)
    until(lambda: (repo.runs["one"].step or 0) > 5, "five batches")
    [digit] = one.query("infer", [np.zeros((9, 9)).tolist()], timeout=PATIENCE)
    assert digit in range(10)
    one.stop(timeout=PATIENCE)
    stopped = repo.runs["one"].step
    assert stopped is not None
    repo.configure("one", {"steps": max(60, stopped + 5)})
    assert tracker.restart("one").wait(PATIENCE) == "completed"
    assert whole.wait(PATIENCE) == "completed"
    assert oids(repo, "one")[:61] == oids(repo, "whole")
    assert repo.attachment("whole", "examples.png", newest=True).startswith(b"\x89PNG")


@pytest.mark.slow
def test_it_runs_without_torch_and_tensorboard(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["torch"] = sys.modules["tensorboard"] = None
from simgit.repository import Repository
from simgit.live import Tracker
from simgit.server.application import application
with Repository.init("r") as repo:
    application(repo)
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env={"PYTHONPATH": str(ROOT)})  # fmt: skip
