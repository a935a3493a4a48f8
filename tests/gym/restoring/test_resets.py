"""Restores from seeded resets: where these forget what was before, by word or as was tried."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from simgit import Divergence, InvalidInput, Repository, SimgitWarning, Unverified
from simgit.gym import Recorder, drivers, judge, plan, restore
from simgit.gym.restoring import checks, full_reset
from simgit.gym.restoring import restore as restoring
from simgit.gym.restoring.checks import RunCheck
from simgit.gym.restoring.recorded_path import RecordedPath
from simgit.gym.restoring.run_notes import note, resets_fail, said_of
from tests.gym.restoring import reset_envs

pytestmark = pytest.mark.usefixtures("without_torch")

EPISODES = 45
PART = reset_envs.LENGTH + 1
"""The states of an episode, that of its reset included."""


@pytest.fixture
def repo() -> Iterator[Repository]:
    with Repository.init(":memory:") as made:
        yield made


@pytest.fixture(autouse=True)
def in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with what a new process knows."""
    monkeypatch.setattr(restoring, "_kept", set())


def record(repo: Repository, env: Any, seconds: float = 0.01, seeded: int = 1) -> None:
    """Record episodes, each or every so many with a seed; a step takes long, by what it says."""
    recorder = Recorder(env, repo, snapshots=1, provenance=False, self_check=False)
    for episode in range(EPISODES):
        recorder.reset(seed=None if episode % seeded else 100 + episode)
        for step in range(reset_envs.LENGTH):
            recorder.step((episode + step * step) % 3)
    recorder.close()
    repo.configure("main", metadata={"step_seconds": seconds})


def tried(repo: Repository, sample: int = 3, kind: str = "resets") -> Any:
    """Note the verdict that checks give, made in this process one after another; return resets'."""
    check = RunCheck(lambda: nullcontext(repo), "main", seconds=600, sample=sample)
    found = check.verdict(lambda check, start, seconds: check())
    assert found.result == "exact by replay"
    note(repo, "main", found)
    return found.details.get(kind)


def goes_on(env: Any, repo: Repository, step: int, count: int = 25) -> bool:
    """Return whether recorded actions have the recorded results."""
    for state in repo.trajectory("main")[step + 1 : step + 1 + count]:
        if state.reset is not None:
            found: Any = (env.reset(**state.reset)[0], None)
        else:
            found = env.step(int(state.action))
        if not np.array_equal(found[0], state.observation) or found[1] != state.reward:
            return False
    return True


@pytest.mark.parametrize("wrap", [lambda env: env, reset_envs.PlainDeclared])
def test_what_is_declared_is_restored_from_the_last_reset(repo: Repository, wrap: Any) -> None:
    record(repo, wrap(reset_envs.Declared()), seconds=1e-6)
    assert repo.runs["main"].metadata["reset_forgets"] is True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for episode, at in ((1, 0), (7, 3), (44, 9), (44, 0)):
            step = episode * PART + at
            found = plan(repo, f"main@{step}")
            assert (found.how, found.start, found.cost) == ("episode", episode * PART, at + 1)
            env = restore(repo, f"main@{step}")
            assert goes_on(env, repo, step)
            env.close()


@pytest.mark.parametrize("env", [
    lambda: reset_envs.Model(), lambda: reset_envs.DeclaredNot(),
    lambda: reset_envs.Plain(reset_envs.Declared()),
    lambda: reset_envs.PlainDeclared(reset_envs.Model()),
])  # fmt: skip
def test_what_is_not_declared_by_all_layers_is_restored_from_creation(
    repo: Repository, env: Any
) -> None:
    record(repo, env())
    assert repo.runs["main"].metadata.get("reset_forgets") is not True
    assert plan(repo, "main@300").how == "creation"


@pytest.mark.parametrize(
    ("kind", "sample", "forgets"),
    [
        (reset_envs.Model, 3, True),
        (reset_envs.Cache, 3, True),
        (reset_envs.Mean, 3, False),
        (reset_envs.OfPython, 3, False),
        (reset_envs.OfNumPy, 3, False),
        (reset_envs.IgnoresSeed, 3, False),
        (reset_envs.Tenth, 3, True),  # none of these three is a tenth
        (reset_envs.Tenth, 12, False),
    ],
)
def test_a_trial_says_what_it_found(
    repo: Repository, kind: Any, sample: int, forgets: bool
) -> None:
    record(repo, kind())
    found = tried(repo, sample)
    assert found["forget"] is forgets
    if forgets:
        counted = {key: found[key] for key in ("episodes", "steps", "of", "step")}
        last = (EPISODES - 1) * PART
        assert counted == {"episodes": 3, "steps": 3 * PART, "of": EPISODES - 1, "step": last}
    else:
        assert found["from"] % PART == 0 and found["step"] >= found["from"]
        assert plan(repo, "main@300").how == "creation"


def test_what_was_tried_is_used_with_a_warning_where_a_replay_would_be_felt(
    repo: Repository,
) -> None:
    record(repo, reset_envs.Cache())
    tried(repo)
    step = 40 * PART + 4
    found = plan(repo, f"main@{step}")
    assert (found.how, found.start, found.cost) == ("episode", 40 * PART, 5)
    assert found.tried == "3 episodes of 33 steps"
    with pytest.warns(Unverified, match=r"3 episodes of 33 steps\), and is not proved"):
        env = restore(repo, f"main@{step}")
    assert goes_on(env, repo, step)
    assert plan(repo, f"main@{PART + 4}").how == "creation", "little would be won"
    repo.configure("main", metadata={"step_seconds": 1e-6})
    assert plan(repo, f"main@{step}").how == "creation", "nobody would feel it"


def test_a_given_environment_is_not_spent_on_what_was_only_tried(repo: Repository) -> None:
    record(repo, reset_envs.Tenth())
    tried(repo)
    step = 29 * PART + 7
    env = restore(repo, f"main@{step}", env=reset_envs.Tenth())
    assert env.episode == 30 and goes_on(env, repo, step)


@pytest.mark.parametrize("at", [2, 4, 7])
def test_a_reset_that_turns_out_not_to_forget_is_given_up_and_that_is_said_once(
    repo: Repository, at: int
) -> None:
    """Whether it shows on the way to the state, or later in its episode."""
    record(repo, reset_envs.Tenth())
    assert tried(repo)["forget"] is True
    step = 29 * PART + at
    with pytest.warns(Unverified, match="does not forget") as said:
        env = restore(repo, f"main@{step}")
    assert len(said) == 1
    assert goes_on(env, repo, step, 200), "to the next tenth, and over it"
    assert resets_fail([repo.runs["main"]]), "in the next process it is not tried again"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert goes_on(restore(repo, f"main@{step + PART}"), repo, step + PART)


def test_what_shows_only_in_later_episodes_is_warned_of(repo: Repository) -> None:
    record(repo, reset_envs.Tenth())
    tried(repo)
    step = 28 * PART + 3
    with pytest.warns(Unverified, match="is not proved"):
        env = restore(repo, f"main@{step}")
    assert goes_on(env, repo, step, 6) and not goes_on(env, repo, step + 6)


@pytest.mark.parametrize("kind", [reset_envs.ThirdFails, reset_envs.ThirdFailsDeclared])
def test_an_exception_in_a_trial_says_nothing_of_resets(
    repo: Repository, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    monkeypatch.setattr(kind, "made", 3)  # whatever other tests have made
    record(repo, kind())
    before = plan(repo, "main@480").how
    assert before == ("creation" if kind is reset_envs.ThirdFails else "episode")
    monkeypatch.setattr(kind, "made", 1)  # the second one is re-executed from the creation
    found = tried(repo)
    assert found == {"forget": None, "from": found["from"], "reason": found["reason"]}
    assert "no seat left" in found["reason"]
    assert plan(repo, "main@480").how == before


def test_what_began_without_a_seed_and_has_no_note_of_it_is_not_called_otherwise(
    repo: Repository,
) -> None:
    recorder = Recorder(reset_envs.Model(), repo, snapshots=None, self_check=False)
    recorder.reset()
    for _ in range(3):
        recorder.step(1)
    recorder.close()
    repo.detach("main@0", "session")
    check = RunCheck(lambda: nullcontext(repo), "main", seconds=600)
    found = check.verdict(lambda check, start, seconds: check())
    assert (found.result, found.details) == ("unknown", {"reason": "the first reset had no seed"})


def test_an_exception_in_a_restore_says_nothing_of_resets(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reset_envs.ThirdFails, "made", 3)  # whatever other tests have made
    record(repo, reset_envs.ThirdFails())
    tried(repo)
    step = 40 * PART + 7
    monkeypatch.setattr(reset_envs.ThirdFails, "made", 1)
    # another one is made to try it in
    with pytest.warns(Unverified, match=r"could not be from the reset of step 440: .*no seat"):
        env = restore(repo, f"main@{step}")
    assert goes_on(env, repo, step)
    assert not resets_fail([repo.runs["main"]])
    monkeypatch.setattr(restoring, "_kept", set())
    assert plan(repo, f"main@{step}").how == "episode", "the next process may have what it lacked"


def test_where_nothing_repeats_nothing_is_noted_of_resets(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(repo, reset_envs.Model())
    tried(repo)
    step = 29 * PART + 4
    with monkeypatch.context() as changed:
        changed.setattr(reset_envs.Model, "seen", lambda self: np.array([self.time, 7.0]))
        with pytest.raises(Divergence):
            restore(repo, f"main@{step}")
    assert not resets_fail([repo.runs["main"]])
    assert plan(repo, f"main@{step}").how == "episode"


def test_the_newest_reset_is_tried_first(repo: Repository) -> None:
    record(repo, reset_envs.Model())
    assert tried(repo, sample=1)["step"] == (EPISODES - 1) * PART


def test_resets_are_looked_for_only_where_no_snapshots_serve(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(gym.make("CartPole-v1"), repo, snapshots=2, self_check=False)
    for seed in range(3):
        recorder.reset(seed=seed)
        recorder.step(0)
        recorder.step(0)
    recorder.close()
    monkeypatch.setattr(checks, "_resets", lambda path: pytest.fail("they were"))
    check = RunCheck(lambda: nullcontext(repo), "main", seconds=600)
    assert check.verdict(lambda check, start, seconds: check()).result == "exact"


@pytest.mark.parametrize("seeded", [1, 3])
def test_parts_of_resets_end_where_another_environment_begins(
    repo: Repository, seeded: int
) -> None:
    for _ in range(3):  # each with an environment of its own, in the same run
        recorder = Recorder(
            reset_envs.DeclaredForAll(), repo, snapshots=1, provenance=False, self_check=False
        )
        for episode in range(4):
            recorder.reset(seed=None if episode % seeded else 100 + episode)
            for step in range(reset_envs.LENGTH):
                recorder.step(step % 3)
        recorder.close()
    found = checks._resets(RecordedPath(repo, "main"))
    ends = [(at * PART, (at + 1) * PART) for at in range(12)]
    if seeded == 1:
        assert found["resets"] == [ends[i] for i in (11, 10, 9, 7, 6, 5, 3, 2, 1)]
        assert found["unseeded_resets"] == []
    else:
        assert found["resets"] == [ends[i] for i in (11, 7, 3)]
        unseeded = [ends[i] for i in (10, 9, 6, 5, 2, 1)]
        # that of every second one ends at the next noted one, though a seeded one is between
        assert [at for at, _ in found["unseeded_resets"]] == [at for at, _ in unseeded]
        assert max(end for _, end in found["unseeded_resets"]) <= 12 * PART


def test_a_trial_refutes_a_declaration(repo: Repository) -> None:
    record(repo, reset_envs.DeclaredWrongly())
    assert plan(repo, "main@300").how == "episode"
    assert tried(repo, sample=12)["forget"] is False
    assert plan(repo, "main@300").how == "creation"
    assert goes_on(restore(repo, "main@300"), repo, 300, 100)


@pytest.mark.parametrize("seeded", [EPISODES, 7])
def test_a_reset_without_a_seed_begins_with_the_generator_that_it_had(
    repo: Repository, seeded: int
) -> None:
    record(repo, reset_envs.DeclaredForAll(), seconds=1e-6, seeded=seeded)
    assert repo.runs["main"].metadata["reset_forgets"] == "np_random"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for episode, at in ((1, 0), (7, 3), (20, 9), (44, 0)):
            step = episode * PART + at
            found = plan(repo, f"main@{step}")
            assert (found.how, found.start, found.cost) == ("episode", episode * PART, at + 1)
            env = restore(repo, f"main@{step}")
            assert goes_on(env, repo, step, 60), "its generator goes on over further resets"
            env.close()


@pytest.mark.parametrize(
    ("kind", "forget"),
    [
        (reset_envs.Model, True), (reset_envs.Cache, True), (reset_envs.OfItsOwn, False),
        (reset_envs.OfNumbersOfASeed, False), (reset_envs.Mean, False),
        (reset_envs.OfPython, False), (reset_envs.WithoutOne, None),
    ],
)  # fmt: skip
def test_resets_without_a_seed_are_tried_too(
    repo: Repository, kind: Any, forget: bool | None
) -> None:
    record(repo, kind(), seeded=EPISODES)
    found = tried(repo, kind="unseeded_resets")
    assert found["forget"] is forget
    step = 40 * PART + 4
    if forget:
        assert (found["episodes"], found["of"]) == (3, EPISODES - 1)
        with pytest.warns(Unverified, match="is not proved"):
            env = restore(repo, f"main@{step}")
    else:
        env = restore(repo, f"main@{step}", env=kind())
    assert plan(repo, f"main@{step}").how == ("episode" if forget else "creation")
    assert goes_on(env, repo, step)


def test_what_is_said_of_seeded_resets_is_not_said_of_others(repo: Repository) -> None:
    record(repo, reset_envs.Declared(), seconds=1e-6, seeded=10)
    found = plan(repo, f"main@{25 * PART + 3}")
    assert (found.how, found.start) == ("episode", 20 * PART)
    assert goes_on(restore(repo, f"main@{25 * PART + 3}"), repo, 25 * PART + 3)


@pytest.mark.parametrize(
    "odd", [7, [], {"packed": 3}, {"0": 1}, {"0": [["PCG64", {}], 1]}, {"0": [["None", {}, []], 0]}]
)
def test_generators_of_another_form_lead_to_a_replay(repo: Repository, odd: Any) -> None:
    record(repo, reset_envs.DeclaredForAll(), seeded=EPISODES)
    repo.attach(f"main@{20 * PART}", "generators", odd)
    step = 20 * PART + 3
    assert plan(repo, f"main@{step}").start == 20 * PART
    assert goes_on(restore(repo, f"main@{step}"), repo, step)


@pytest.mark.filterwarnings("ignore::simgit.Unverified")
@pytest.mark.parametrize("kind", [reset_envs.Quiet, reset_envs.QuietAndStored])
def test_what_a_run_reseeded_otherwise_attached_to_a_shared_state_is_not_taken(
    repo: Repository, kind: Any
) -> None:
    how: Any = {"snapshots": 1, "provenance": False, "self_check": False}
    recorder = Recorder(kind(), repo, **how)
    recorder.reset(seed=5)
    for _ in range(3):
        recorder.step(1)
    recorder.close()
    live, start = {}, repo.resolve("main@3")
    for run, seed in (("main", None), ("one", 11), ("two", 22)):
        if seed is not None:
            rollout = {"what-if": {"from": start, "seed": seed}}
            repo.branch(run, start, metadata=rollout)
        recorder = Recorder.resume(repo, run, **how)
        if seed is not None:
            drivers.select(recorder.env).reseed(recorder.env, seed)
        for action in (1, 1, None, 1, 1, 1, 1):
            recorder.reset() if action is None else recorder.step(action)
        live[run] = recorder.unwrapped.level
        recorder.close()
        repo.configure(run, metadata={"step_seconds": 1.0})  # nothing is re-executed to compare
    assert len({repo.resolve(run) for run in live}) == 1 and len(set(live.values())) == 3
    for run, level in live.items():
        assert restore(repo, run).unwrapped.level == level
    assert plan(repo, "two").start >= 6, "the last one's are its own"


def test_one_kind_of_resets_may_forget_and_the_other_not(repo: Repository) -> None:
    record(repo, reset_envs.OfNumbersOfASeed(), seeded=5)
    assert tried(repo)["forget"] is True
    assert repo.runs["main"].metadata["verdict"]["unseeded_resets"]["forget"] is False
    found = plan(repo, f"main@{44 * PART + 3}")
    assert (found.how, found.start) == ("episode", 40 * PART)


def test_generators_are_noted_only_where_there_are_no_snapshots_and_the_way_is_long(
    repo: Repository,
) -> None:
    for name, env in (("main", gym.make("CartPole-v1")), ("model", reset_envs.Model())):
        recorder = Recorder(env, repo, name, snapshots=7, provenance=False, self_check=False)
        for seed in (1, None, None, None, 2, None, None, None, None):
            recorder.reset(seed=seed)
            recorder.step(0)
            recorder.step(0)
        recorder.close()
    noted = [
        (name, step) for name in ("main", "model") for step in range(27)
        if "generators" in repo.attachments(f"{name}@{step}")
    ]  # fmt: skip
    assert noted == [("model", 9), ("model", 21)], "seven steps after a reset that leads on"


def test_generators_that_cannot_be_noted_are_noted_at_the_next_reset(repo: Repository) -> None:
    env = reset_envs.Model()
    recorder = Recorder(env, repo, snapshots=7, provenance=False, self_check=False)
    for episode in range(6):
        if episode == 3:
            env._np_random = None  # it is made when it is first used
        recorder.reset(seed=None if episode else 1)
        recorder.step(0)
        recorder.step(0)
    recorder.close()
    assert [
        step for step in range(18) if "generators" in repo.attachments(f"main@{step}")
    ] == [12]  # fmt: skip


@pytest.mark.parametrize("kind", [reset_envs.Declared, reset_envs.DeclaredForAll])
@pytest.mark.parametrize("seeded", [1, EPISODES])
def test_what_a_script_draws_from_is_put_back_too(repo: Repository, kind: Any, seeded: int) -> None:
    env = kind()
    env.action_space.seed(3)
    random.seed(4)
    np.random.seed(5)

    def drawn(env: Any) -> list[Any]:
        numbers = [int(env.action_space.sample()) for _ in range(9)]
        return [*numbers, random.random(), float(np.random.random())]

    record(repo, env, seeded=seeded)  # whose actions are not drawn
    live = drawn(env)
    for _ in range(2):
        restored = restore(repo, f"main@{EPISODES * PART - 1}")
        assert drawn(restored) == live


def test_of_a_known_environment_that_keeps_all_a_note_and_a_trial_count(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As CarRacing: it is Gymnasium's, and has no snapshots."""
    known = (*full_reset._ENVIRONMENTS, "tests.gym.restoring.reset_envs.")
    monkeypatch.setattr(full_reset, "_ENVIRONMENTS", known)
    monkeypatch.setattr(full_reset, "keeps_all", lambda env: True)
    record(repo, reset_envs.PlainDeclared(reset_envs.Model()))
    assert "reset_forgets" not in repo.runs["main"].metadata, "nobody has said no"
    assert plan(repo, "main@480").how == "creation"
    assert tried(repo)["forget"] is True
    assert plan(repo, "main@480").how == "episode"
    repo.configure("main", metadata={"verdict": {}, "reset_forgets": True})
    assert plan(repo, "main@480").how == "episode"


@pytest.mark.filterwarnings("ignore::simgit.Unverified")  # a branch of what was not checked
@pytest.mark.parametrize("odd", ["True", "numpy_random", 1, np.True_, np.array([True, False])])
def test_what_is_no_declaration_is_said_and_counts_for_nothing(
    repo: Repository, monkeypatch: pytest.MonkeyPatch, odd: Any
) -> None:
    monkeypatch.setitem(reset_envs.Misspelt.metadata["simgit"], "reset_forgets", odd)
    with pytest.warns(SimgitWarning, match="must be True, False or 'np_random'") as said:
        record(repo, reset_envs.Misspelt())
    assert len([each for each in said if "reset_forgets" in str(each.message)]) == 1
    assert "reset_forgets" not in repo.runs["main"].metadata
    assert plan(repo, "main@300").how == "creation"
    with pytest.warns(SimgitWarning, match="must be True, False or 'np_random'"):
        repo.configure("main", metadata={"reset_forgets": odd})
    with pytest.warns(SimgitWarning, match="must be True, False or 'np_random'"):
        repo.branch("b", "main@3", metadata={"reset_forgets": odd})
    assert plan(repo, "main@300").how == "creation"


@pytest.mark.parametrize("odd", [[True, False], {"a": 1}, 7, "numpy_random", None])
def test_what_was_noted_in_another_form_counts_for_nothing(odd: Any) -> None:
    assert said_of(np.array(odd) if isinstance(odd, list) else odd, "resets") is None
    assert said_of(odd, "unseeded_resets") is None


def said_of_itself() -> Any:
    """Return an environment of which the script says that it forgets, and its class does not."""
    env = reset_envs.Model()
    env.metadata = {"simgit": {"reset_forgets": True}}
    return env


def test_what_a_script_declared_counts_where_it_was_recorded_only(tmp_path: Path) -> None:
    packed = BytesIO()
    with Repository.init(tmp_path / "theirs") as theirs, Repository.init(tmp_path) as repo:
        record(theirs, said_of_itself())
        assert plan(theirs, "main@300").how == "episode"
        theirs.create_bundle(packed, ["main"])
        packed.seek(0)
        repo.import_bundle(packed)
        assert repo.runs["main"].metadata["reset_forgets"] is True
        assert plan(repo, "main@300", trust=True).how == "creation"
        repo.configure("main", metadata={"note": "mine"})
        assert plan(repo, "main@300", trust=True).how == "creation"
        # a verdict of one's own does not say it
        repo.configure("main", metadata={"verdict": {"result": "exact by replay"}})
        assert not repo.runs["main"].is_foreign
        assert plan(repo, "main@300", trust=True).how == "creation"
        # one's own word does
        repo.configure("main", metadata={"reset_forgets": True})
        assert plan(repo, "main@300", trust=True).how == "episode"
    with Repository.init(tmp_path / "more") as repo:
        packed.seek(0)
        repo.import_bundle(packed)
        repo.trust()
        assert plan(repo, "main@300").how == "episode"


def test_what_a_user_notes_with_a_run_counts(repo: Repository) -> None:
    record(repo, reset_envs.Model())
    repo.configure("main", metadata={"reset_forgets": True})
    assert plan(repo, "main@300").how == "episode"
    repo.configure("main", metadata={"reset_forgets": False})
    assert tried(repo)["forget"] is True
    assert plan(repo, "main@300").how == "creation"


def test_a_note_of_ones_own_counts_with_what_came_from_elsewhere(tmp_path: Path) -> None:
    packed = BytesIO()
    with Repository.init(tmp_path / "theirs") as theirs, Repository.init(tmp_path) as repo:
        record(theirs, reset_envs.Model())
        tried(theirs)
        theirs.branch("hooked", "main@300", metadata={"simulator": {"step": "os:system"}})
        theirs.create_bundle(packed, ["main", "hooked"])
        packed.seek(0)
        repo.import_bundle(packed)
        assert repo.runs["main"].is_foreign
        repo.configure("main", metadata={"reset_forgets": True})
        assert plan(repo, "main@300", trust=True).how == "episode"
        assert "verdict" not in repo.runs["main"].metadata, "another's, which does not count"
        repo.configure("main", metadata={"verdict": {"result": "exact by replay"}})
        assert repo.runs["main"].metadata["reset_forgets"] is True
        assert plan(repo, "main@300", trust=True).how == "episode"
        with pytest.raises(InvalidInput, match="simgit trust"):
            repo.configure("hooked", metadata={"reset_forgets": True})
        assert repo.runs["hooked"].is_foreign


def test_a_trial_from_elsewhere_counts_for_nothing(tmp_path: Path) -> None:
    packed = BytesIO()
    with Repository.init(tmp_path / "theirs") as theirs, Repository.init(tmp_path) as repo:
        record(theirs, reset_envs.Model())
        tried(theirs)
        assert plan(theirs, "main@300").how == "episode"
        theirs.create_bundle(packed, ["main"])
        packed.seek(0)
        repo.import_bundle(packed)
        assert plan(repo, "main@300", trust=True).how == "creation"


@pytest.mark.slow
def test_resets_are_tried_in_a_process_of_their_own(repo: Repository) -> None:
    record(repo, reset_envs.Model())
    before = reset_envs.Model.made
    found = judge(repo, "main")
    assert (found.result, found.details["resets"]["forget"]) == ("exact by replay", True)
    assert reset_envs.Model.made == before
