"""Golden runs: a simulator's own tests, run by pytest as its users run it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest

import simgit
import simgit.gym.restoring.verify  # loaded here, it is not loaded anew by each inner session
import simgit.gym.tools.collect
from simgit.integrations import golden
from tests.recording.simulators.models import QUEUE, Queue, advance_queue
from tests.support.golden_plugin import PLUGIN
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

pytest_plugins = ["pytester"]

ENVIRONMENT = """
    import gymnasium, random
    import numpy as np

    class Walk(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-1e6, 1e6, (3,), np.float64)
        action_space = gymnasium.spaces.Discrete(3)
        step_size = 1.0

        def reset(self, seed=None, options=None):
            super().reset(seed=seed)
            self.at, self.left = self.np_random.normal(size=3), 7
            return self.at.copy(), {}

        def step(self, action):
            self.at[action] += self.step_size * self.np_random.normal() + random.random()
            self.left -= 1
            return self.at.copy(), float(self.at.sum()), False, self.left == 0, {"left": self.left}
"""

TEST = """
    from walk import Walk

    def test_walk(simgit_golden):
        simgit_golden(Walk, seeds=(3, 4), steps=20)
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Load no other plugin in inner sessions, and leave no environment registered."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    yield
    gymnasium.registry.pop("Walk-v0", None)


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run pytest in this process, which forgets the modules that it loads and what they register."""
    gymnasium.registry.pop("Walk-v0", None)
    return pytester.runpytest_inprocess("-p", PLUGIN, "-p", "no:cacheprovider", *arguments)


@pytest.fixture
def walk(pytester: pytest.Pytester) -> Path:
    """A simulator with its recorded golden run; return the simulator's file."""
    pytester.syspathinsert()
    pytester.makepyfile(walk=ENVIRONMENT, test_walk=TEST)
    result = run(pytester, "--simgit-update")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["recorded golden/test_walk/test_walk.golden"])
    return pytester.path / "walk.py"


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new) + "\n# edited\n")  # of another size: no stale bytecode


FILE = "golden/test_walk/test_walk.golden"


def test_an_unchanged_environment_passes_and_records_the_same_bytes(
    pytester: pytest.Pytester, walk: Path
) -> None:
    first = (pytester.path / FILE).read_bytes()
    run(pytester).assert_outcomes(passed=1)
    result = run(pytester, "--simgit-update")
    result.stdout.fnmatch_lines([f"unchanged {FILE}"])
    (pytester.path / FILE).unlink()
    run(pytester, "--simgit-update").assert_outcomes(passed=1)
    assert (pytester.path / FILE).read_bytes() == first


@pytest.mark.slow
def test_a_difference_names_step_field_before_and_after(
    pytester: pytest.Pytester, walk: Path
) -> None:
    edit(walk, "self.left -= 1", "self.left -= 1; self.at[1] += self.left == 2")
    result = run(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            f"golden run '{FILE}' differs",
            "  step      5 (episode 1, step 5 of it, seed 3, action *)",
            "  field     reward",
            "  before    *",
            "  after     *",
            "if the change is meant, record it anew: pytest 'test_walk.py::test_walk' --simgit-update",
        ],
        consecutive=True,
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    run(pytester, "--simgit-update").assert_outcomes(passed=1)
    run(pytester).assert_outcomes(passed=1)


@pytest.mark.slow
def test_the_element_of_an_array_is_named(pytester: pytest.Pytester, walk: Path) -> None:
    edit(walk, "return self.at.copy(), float(", "return self.at + [0, 0, 0.5], float(")
    result = run(pytester)
    result.stdout.fnmatch_lines(
        [
            "  step      1 *",
            "  field     observation[[]2[]] (1 of 3 elements differ, by 0.5 at most)",
        ]
    )


@pytest.mark.slow
def test_an_ignored_field_may_differ(pytester: pytest.Pytester, walk: Path) -> None:
    edit(walk, '{"left": self.left}', '{"left": -self.left}')
    run(pytester).assert_outcomes(failed=1)
    edit(pytester.path / "test_walk.py", "steps=20", "steps=20, ignore=['info.left']")
    run(pytester).assert_outcomes(passed=1)


@pytest.mark.slow
def test_a_value_that_is_absent_is_told_from_none(pytester: pytest.Pytester, walk: Path) -> None:
    edit(walk, '{"left": self.left}', '{"left": self.left, "new": None}')
    run(pytester).stdout.fnmatch_lines(
        ["  field     info.new", "  before    absent", "  after     None"]
    )
    run(pytester, "--simgit-update").assert_outcomes(passed=1)
    edit(walk, ', "new": None}', "}")
    run(pytester).stdout.fnmatch_lines(
        ["  field     info.new", "  before    None", "  after     absent"]
    )


@pytest.mark.slow
def test_an_environment_that_raises_or_has_other_spaces_fails_with_the_reason(
    pytester: pytest.Pytester, walk: Path
) -> None:
    edit(walk, "self.left -= 1", "self.left -= 1; assert self.left != 3, 'three'")
    result = run(pytester)
    result.stdout.fnmatch_lines(["  step      4 *", "  field     exception", "*three*"])
    edit(walk, "Discrete(3)", "Discrete(4)")
    run(pytester).stdout.fnmatch_lines(["*the action space is Discrete(4), but Discrete(3)*"])


@pytest.mark.slow
def test_what_does_not_repeat_itself_is_not_recorded(pytester: pytest.Pytester) -> None:
    pytester.syspathinsert()
    counting = ENVIRONMENT.replace("step_size = 1.0", "step_size = 1.0; made = 0").replace(
        "self.left -= 1", "self.left -= 1; Walk.made += 1; self.at[0] += Walk.made"
    )
    pytester.makepyfile(walk=counting, test_walk=TEST)
    result = run(pytester, "--simgit-update")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*does not repeat itself, nothing is recorded", "  step      1 *"])
    assert not (pytester.path / "golden").exists()


@pytest.mark.slow
def test_other_arguments_of_a_test_are_told(pytester: pytest.Pytester, walk: Path) -> None:
    edit(pytester.path / "test_walk.py", "steps=20", "steps=30")
    run(pytester).stdout.fnmatch_lines([f"'{FILE}' was recorded with steps 20, the test has 30"])


@pytest.mark.parametrize(
    ("make", "given", "told"),
    [
        (lambda: None, {}, "an environment, its id or a function that makes one"),
        (lambda: gymnasium.make_vec("CartPole-v1", 2), {}, "is a vector"),
        ("Nowhere-v0", {}, "cannot make environment 'Nowhere-v0'"),
        ("CartPole-v1", {"seeds": 3}, "seeds must be a list"),
        ("CartPole-v1", {"seeds": []}, "seeds must be a list"),
        ("CartPole-v1", {"seeds": [1.5]}, "seeds must be an integer"),
        ("CartPole-v1", {"steps": "x"}, "steps must be an integer"),
    ],
)
def test_what_cannot_be_played_is_refused(
    tmp_path: Path, make: Any, given: dict[str, Any], told: str
) -> None:
    with pytest.raises(simgit.SimgitError, match=told):
        golden.Golden(tmp_path / "x", update=True).environment(make, **given)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_missing_file_says_how_to_record_it(pytester: pytest.Pytester, walk: Path) -> None:
    (pytester.path / FILE).unlink()
    result = run(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [f"golden run '{FILE}' not found", "record it: pytest 'test_walk.py::*' --simgit-update"]
    )


@pytest.mark.slow
def test_a_damaged_or_foreign_file_fails_and_can_be_recorded_anew(
    pytester: pytest.Pytester, walk: Path, seed: int
) -> None:
    file = pytester.path / FILE
    good = file.read_bytes()
    at = seed % len(good)
    with simgit.Repository.init(":memory:") as repo:
        repo.commit(1)
        repo.create_bundle(pytester.path / "other", ["main"])
        repo.tag("v1", "main")
        repo.create_bundle(pytester.path / "tag", ["v1"])
        repo.import_bundle(file)
        repo.create_bundle(pytester.path / "both", ["main", "golden/run"])
    cases = {
        "is damaged": [
            good[:-1], good[:at], good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :], b"",
            b"<<<<<<< HEAD\n" + good, good + good,
        ],
        "is damaged*'git lfs pull'": [b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"],
        "is a bundle, but not of golden runs": [
            (pytester.path / name).read_bytes() for name in ("tag", "both", "other")
        ],
    }  # fmt: skip
    for told, contents in cases.items():
        for content in contents:
            file.write_bytes(content)
            loading = golden.Golden(file)
            with pytest.raises(simgit.SimgitError) as error:
                loading.environment(lambda: None)
            assert all(part in str(error.value) for part in told.split("*"))
    result = run(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"'{FILE}' is a bundle, but not of golden runs"])
    run(pytester, "--simgit-update").assert_outcomes(passed=1)
    assert file.read_bytes() == good
    file.unlink()
    os.mkfifo(file)
    run(pytester).stdout.fnmatch_lines([f"'{FILE}' is not a file"])


def test_resets_with_options_in_a_forged_file_are_refused(tmp_path: Path) -> None:
    class Reads(gymnasium.Env[int, int]):
        observation_space = action_space = gymnasium.spaces.Discrete(2)
        given: ClassVar[list[object]] = []

        def reset(self, *, seed=None, options=None):  # type: ignore[no-untyped-def]
            self.given.append(options)
            return 0, {}

        def step(self, action):  # type: ignore[no-untyped-def]
            return 0, 0.0, False, False, {}

    file = tmp_path / "forged.golden"
    with simgit.Repository.init(":memory:") as repo:
        env = simgit.gym.Recorder(Reads(), repo, "run", snapshots=None, self_check=False)
        env.reset(seed=0, options={"load": "/etc/passwd"})
        env.close()
        repo.tag("golden/run", "run")
        repo.attach("run", "golden", {"kind": "environment", "seeds": [0], "steps": 1})
        repo.create_bundle(file, ["golden/run"])
    Reads.given.clear()
    with pytest.raises(simgit.InvalidInput, match="was not recorded from an environment by this"):
        golden.Golden(file).environment(Reads, steps=1)
    assert Reads.given == []


@pytest.mark.slow
def test_forged_notes_and_states_are_differences_or_errors_of_simgit(tmp_path: Path) -> None:
    file, states = tmp_path / "forged.golden", ({"a": np.zeros(2)}, {"b": None}, 3, "x", [1])
    notes: list[Any] = [
        3, {}, {"kind": np.zeros(3)}, {"kind": "environment", "seeds": [np.zeros(2)], "steps": 2},
        {"kind": "environment", "seeds": [0], "steps": 2, "versions": 3},
        {"kind": "environment", "seeds": [0], "steps": 2, "versions": {"numpy": {}, 3: "x", "\x1b": "\x1b" * 99}},
    ]  # fmt: skip
    for note, action in [(each, 1) for each in notes] + [(notes[-1], each) for each in states]:
        with simgit.Repository.init(":memory:") as repo:
            env = simgit.gym.Recorder(
                gymnasium.make("CartPole-v1"), repo, "run", snapshots=None, self_check=False
            )
            env.reset(seed=0)
            env.close()
            repo.commit(
                action, action, 1.0, reset={"seed": 1 << 80} if action == 3 else None, run="run"
            )
            repo.tag("golden/run", "run")
            repo.attach("run", "golden", note)
            repo.create_bundle(file, ["golden/run"])
        with pytest.raises(simgit.SimgitError) as error:
            golden.Golden(file).environment("CartPole-v1", steps=2)
        told = getattr(error.value, "report", (str(error.value),))
        assert all(line.isprintable() and len(line) < 500 for line in told)


@pytest.mark.slow
def test_another_version_of_a_package_is_told_with_a_difference(
    pytester: pytest.Pytester, walk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (pytester.path / FILE).read_bytes()
    real = metadata.version
    monkeypatch.setattr(
        metadata, "version", lambda name: "99.1" if name == "gymnasium" else real(name)
    )
    run(pytester).assert_outcomes(passed=1)
    run(pytester, "--simgit-update").assert_outcomes(passed=1)
    assert (pytester.path / FILE).read_bytes() == before  # as long as the states are the same
    edit(walk, "step_size = 1.0", "step_size = 2.0")
    was = gymnasium.__version__
    run(pytester).stdout.fnmatch_lines([f"  versions  gymnasium {was} → 99.1"])


@pytest.mark.slow
def test_parametrised_tests_classes_and_several_runs_of_a_test_have_files_of_their_own(
    pytester: pytest.Pytester,
) -> None:
    pytester.syspathinsert()
    pytester.makepyfile(
        walk=ENVIRONMENT,
        test_many="""
            import pytest
            from walk import Walk

            @pytest.mark.parametrize("word", ["a", "a/b", "a b", "x" * 300, "a.2", "a.z", "A"])
            def test_words(simgit_golden, word):
                simgit_golden(Walk(), seeds=[len(word)], steps=3)
                if word == "a":
                    simgit_golden(Walk(), seeds=[7], steps=3)
                    simgit_golden(Walk(), seeds=[8], steps=3, name="z")

            class TestClass:
                def test_words(self, simgit_golden):
                    simgit_golden(Walk(), steps=3)
                    simgit_golden(Walk(), seeds=[1], steps=3)
                    simgit_golden(Walk(), seeds=[2], steps=3, name="third")
        """,
    )
    run(pytester, "--simgit-update").assert_outcomes(passed=8)
    files = sorted(path.name for path in (pytester.path / "golden/test_many").iterdir())
    assert len(files) == 12
    assert [name for name in files if name.startswith("Test")] == [
        "TestClass.test_words.2.golden", "TestClass.test_words.golden",
        "TestClass.test_words.third.golden",
    ]  # fmt: skip
    run(pytester).assert_outcomes(passed=8)
    moved = pytester.path / "kept"
    run(pytester, "--simgit-golden", "kept", "--simgit-update").assert_outcomes(passed=8)
    assert len(list((moved / "test_many").iterdir())) == 12


SIMULATOR = """
    from random import Random

    def test_queue(simgit_golden):
        random, waiting = Random(7), 0
        with simgit_golden.recorder() as recorder:
            recorder.append({"waiting": 0}, reset={"seed": 7})
            for minute in range(30):
                arrived, served = random.randrange(4), minute % 3
                waiting = max(0, waiting + arrived - served)
                recorder.append({"waiting": waiting}, served, -float(waiting), minute == 29)
"""


@pytest.mark.slow
def test_a_simulator_without_environment_is_compared_state_by_state(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(test_queue=SIMULATOR)
    run(pytester, "--simgit-update").assert_outcomes(passed=1)
    file = pytester.path / "golden/test_queue/test_queue.golden"
    first = file.read_bytes()
    run(pytester).assert_outcomes(passed=1)
    edit(pytester.path / "test_queue.py", "minute % 3", "minute % 3 + (minute == 11)")
    result = run(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["  step      12 (episode 1, step 12 of it, seed 7, action 3)", "  field     action",
         "  before    2", "  after     3"]
    )  # fmt: skip
    edit(pytester.path / "test_queue.py", " + (minute == 11)", "")
    edit(pytester.path / "test_queue.py", "range(30)", "range(25)")
    run(pytester).stdout.fnmatch_lines(
        ["  field     number of states", "  before    31", "  after     26"]
    )
    edit(pytester.path / "test_queue.py", "range(25)", "range(30)")
    run(pytester, "--simgit-update").stdout.fnmatch_lines(["unchanged *"])
    assert file.read_bytes() == first


@pytest.mark.slow
def test_a_simulator_with_hooks_is_executed_again_with_the_recorded_actions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, asked = tmp_path / "queue.golden", {**QUEUE, "seeds": (3, 4), "steps": 40}
    writing = golden.Golden(file, update=True)
    writing.simulator(**asked, policy=lambda seen: seen["waiting"] > 2)
    assert writing.done == "recorded"
    comparing = golden.Golden(file)
    comparing.simulator(**asked)  # the policy is not asked
    again = golden.Golden(file, update=True)
    again.simulator(**asked, policy=lambda seen: seen["waiting"] > 2)
    assert again.done == "unchanged"

    def advance(queue: Queue, action: object) -> dict[str, object]:
        seen = advance_queue(queue, action)
        return seen | ({"info": {"late": True}} if queue.now == 7 else {})

    with pytest.raises(simgit.Divergence) as error:
        comparing.simulator(**asked | {"advance": advance})
    assert (error.value.step, error.value.field) == (7, "info.late")
    comparing.simulator(**asked | {"advance": advance}, ignore=["info.late"])
    with pytest.raises(simgit.InvalidInput, match="was recorded with seeds"):
        comparing.simulator(**asked | {"seeds": (3,)})
    with pytest.raises(simgit.InvalidInput, match="was recorded with kind 'simulator'"):
        comparing.environment("CartPole-v1", seeds=(3, 4), steps=40)
    drawn = iter(range(1000))
    with pytest.raises(simgit.Divergence, match="does not repeat itself, nothing is recorded"):
        golden.Golden(tmp_path / "other", update=True).simulator(
            **asked | {"observe": lambda queue: {"observation": next(drawn)}}
        )
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_the_fixture_takes_hooks(pytester: pytest.Pytester) -> None:
    pytester.syspathinsert()
    pytester.makepyfile(
        counter="""
            def new(seed): return [seed]
            def advance(counter, action): counter.append(counter[-1] * 2 % 19)
            def observe(counter): return {"observation": counter[-1], "terminated": len(counter) > 8}
        """,
        test_counter="""
            import counter

            def test_counter(simgit_golden):
                simgit_golden.simulator(
                    rebuild=counter.new, advance=counter.advance, observe=counter.observe, seeds=(5, 6)
                )
        """,
    )
    run(pytester, "--simgit-update").assert_outcomes(passed=1)
    run(pytester).assert_outcomes(passed=1)
    edit(pytester.path / "test_counter.py", "seeds=(5, 6)", "seeds=(5, 6), steps=9")
    run(pytester).assert_outcomes(failed=1)
    run(pytester, "--simgit-update").assert_outcomes(passed=1)  # with the same states
    run(pytester).assert_outcomes(passed=1)
    edit(pytester.path / "counter.py", "% 19", "% 17")
    result = run(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["  step      2 (episode 1, step 2 of it, seed 5)", "  field     observation",
         "  before    1", "  after     3"]
    )  # fmt: skip


@pytest.mark.slow
def test_runs_that_a_test_recorded_itself_are_compared(tmp_path: Path) -> None:
    def recorded(step: int, times: int = 1) -> simgit.Repository:
        repo = simgit.Repository.init(":memory:")
        for lane in range(2):
            for i in range(5):
                at = float(i * times) + lane * step
                repo.commit({"at": at, "clock": step}, run=f"lanes/{lane}")
        return repo

    file, runs = tmp_path / "deep" / "lanes.golden", ("lanes/0", "lanes/1")
    writing = golden.Golden(file, update=True)
    writing.compare(recorded(1), *runs, ignore=["observation.clock"])
    assert writing.done == "recorded"
    comparing = golden.Golden(file)
    comparing.compare(recorded(1), *runs)
    with pytest.raises(simgit.Divergence, match=r"'observation.clock' was 1, is 2"):
        comparing.compare(recorded(2), *runs)
    with pytest.raises(simgit.Divergence, match=r"run 'lanes/1' at step 0: 'observation.at' was 1"):
        comparing.compare(recorded(2), *runs, ignore=["observation.clock"])
    with pytest.raises(simgit.Divergence, match=r"run 'lanes/0' at step 1: 'observation.at'"):
        comparing.compare(recorded(1, 3), *runs)
    with pytest.raises(simgit.InvalidInput, match="has the runs"):
        comparing.compare(recorded(1), "lanes/0")
    with pytest.raises(simgit.InvalidInput, match="run 'main' has no states"):
        comparing.compare(recorded(1), "main")


def test_several_agents_are_compared_by_their_lanes(tmp_path: Path) -> None:
    pytest.importorskip("pettingzoo")
    from pettingzoo.classic.rps import rps

    from simgit.integrations import pettingzoo

    runs = ("duel", "duel/player_0", "duel/player_1")

    def played(last: int) -> simgit.Repository:
        repo = simgit.Repository.init(":memory:")
        env = pettingzoo.record(rps.parallel_env(), repo, "duel")
        env.reset(seed=1)
        for turn in range(4):
            env.step({agent: (turn + i) % 3 for i, agent in enumerate(env.agents)})
        env.step(dict(zip(env.agents, (0, last), strict=True)))
        env.close()
        return repo

    golden.Golden(tmp_path / "x", update=True).compare(played(1), *runs)
    golden.Golden(tmp_path / "x").compare(played(1), *runs)
    with pytest.raises(simgit.Divergence, match="in run 'duel' at step 5: 'action"):
        golden.Golden(tmp_path / "x").compare(played(2), *runs)


# --- bundles as tests ----------------------------------------------------------------------------


@pytest.fixture
def bundle(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of two runs of an environment that conftest registers."""
    pytester.syspathinsert()
    pytester.makepyfile(walk=ENVIRONMENT, test_other="def test_other(): pass")
    pytester.makeconftest(
        "import gymnasium\ngymnasium.register('Walk-v0', 'walk:Walk', max_episode_steps=5)\n"
    )
    made = ModuleType("walk")
    monkeypatch.setitem(sys.modules, "walk", made)
    exec(textwrap.dedent(ENVIRONMENT), vars(made))
    gymnasium.register("Walk-v0", "walk:Walk", max_episode_steps=5)
    (pytester.path / "kept").mkdir()
    with simgit.Repository.init(":memory:") as repo:
        for name in ("short", "long"):
            env = simgit.gym.Recorder(gymnasium.make("Walk-v0"), repo, name, self_check=False)
            random.seed(0)
            env.reset(seed=1)
            for _ in range(len(name)):
                if any(env.step(1)[2:4]):
                    env.reset()
            env.close()
        repo.create_bundle(pytester.path / "kept" / "two.bundle", ["short", "long"])
    monkeypatch.delitem(sys.modules, "walk")
    return pytester.path / "kept" / "two.bundle"


@pytest.mark.slow
def test_the_runs_of_bundles_are_tests_of_their_own(
    pytester: pytest.Pytester, bundle: Path
) -> None:
    run(pytester).assert_outcomes(passed=1)  # not asked for
    (pytester.path / "elsewhere.bundle").write_bytes(bundle.read_bytes())
    run(pytester, "--simgit-golden", "kept").assert_outcomes(passed=3)
    run(pytester, "--simgit-golden", "kept", "test_other.py").assert_outcomes(passed=1)
    run(pytester, "--simgit-golden", "kept", "kept").assert_outcomes(passed=2)
    edit(pytester.path / "walk.py", "step_size = 1.0", "step_size = 1.5")
    result = run(pytester, "--simgit-golden", "kept")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        ["golden run 'two.bundle' differs in run 'long'", "  step      1 (episode 1, *",
         "  field     reward"]
    )  # fmt: skip


@pytest.mark.slow
def test_a_bundle_has_no_module_imported_and_no_damage_accepted(
    pytester: pytest.Pytester, bundle: Path
) -> None:
    (pytester.path / "conftest.py").unlink()
    edit(
        pytester.path / "walk.py",
        "import gymnasium",
        "raise SystemExit('imported')\n    import gymnasium",
    )
    result = run(pytester, "--simgit-golden", "kept")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["the environment of 'long' in 'two.bundle' is not registered*"])
    content = bundle.read_bytes()
    bundle.write_bytes(content[:-3])
    run(pytester, "--simgit-golden", "kept", "kept").assert_outcomes(failed=2)
    bundle.write_bytes(content[:60])
    run(pytester, "--simgit-golden", "kept").assert_outcomes(errors=1)
    missing = run(pytester, "--simgit-golden", "nowhere")
    assert missing.ret == pytest.ExitCode.USAGE_ERROR


# --- in processes of their own -------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which pytest finds the entry point as an installation writes it."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        groups = tomllib.load(file)["project"]["entry-points"]
    info = tmp_path / "site" / "simgit-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: simgit\nVersion: 0\n")
    lines = (f"[{g}]\n" + "".join(f"{k} = {v}\n" for k, v in e.items()) for g, e in groups.items())
    (info / "entry_points.txt").write_text("".join(lines))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return kept | {"PYTHONPATH": f"{info.parent}{os.pathsep}{ROOT}"}


def pytest_process(
    folder: Path, env: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments], cwd=folder, env=env,
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_who_does_not_use_the_plugin_loads_nothing_of_it(
    tmp_path: Path, installed: dict[str, str]
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "test_plain.py").write_text(
        "import sys\n"
        "def test_plain(pytestconfig):\n"
        "    assert pytestconfig.pluginmanager.has_plugin('simgit')\n"
        "    loaded = {each for each in sys.modules if each.startswith('simgit')}\n"
        f"    assert loaded == {{'simgit', 'simgit.errors', 'simgit.integrations', '{PLUGIN}'}}\n"
        "    assert not {'numpy', 'lmdb', 'gymnasium', 'click'} & {*sys.modules}\n"
    )
    done = pytest_process(folder, installed)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_workers_of_xdist_record_and_compare(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xdist")
    pytester.makepyfile(
        test_carts="""
            import pytest
            group = lambda seed: pytest.param(seed, marks=pytest.mark.xdist_group(str(seed % 2)))
            @pytest.mark.parametrize("seed", map(group, range(6)))
            def test_cart(simgit_golden, seed):
                simgit_golden("CartPole-v1", seeds=[seed], steps=40)
        """
    )
    run(pytester, "--simgit-update").assert_outcomes(passed=6)
    files = sorted((pytester.path / "golden").rglob("*.golden"))
    before = [file.read_bytes() for file in files]
    for file in files[:3]:
        file.unlink()
    # other processes, with another hash seed, repeat them, and write the same bytes
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    grouped = ("--dist", "loadgroup")  # which adds the group to the ids of tests
    done = run(pytester, "-p", "xdist", "-n", "2", *grouped, "--simgit-update")
    done.assert_outcomes(passed=6)
    told = [line for line in done.outlines if " golden/test_carts/" in line]
    assert [line.partition(" ")[0] for line in told] == ["recorded"] * 3 + ["unchanged"] * 3
    assert len({*told}) == 6
    assert [file.read_bytes() for file in files] == before
    edit(pytester.path / "test_carts.py", "steps=40", "steps=40 + (seed == 1)")
    failed = run(pytester, "-p", "xdist", "-n", "1", *grouped, "-k", "cart and (0 or 1)")
    failed.assert_outcomes(passed=1, failed=1)
    failed.stdout.fnmatch_lines(
        ["*1.golden' was recorded with steps 40, the test has 41",
         "if *: pytest 'test_carts.py::test_cart[[]1[]]' --simgit-update"]
    )  # fmt: skip
