"""RLlib: its EnvRunners record, its callbacks attach, and what they recorded is restored exactly.

Ray brings a Gymnasium of its own: these tests run where it is installed, and are skipped elsewhere.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

pytest.importorskip("ray.rllib")


@pytest.mark.slow
@pytest.mark.parametrize("runners", [0, 2])
def test_what_env_runners_record_is_exact(tmp_path: Path, runners: int) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "SIMGIT_CONFIG_DIR": str(tmp_path / "config")}

    def call(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", *arguments],
            env=environ, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    said = call("tests.integrations.rllib_script", str(tmp_path / "repo"), str(runners))
    assert said.splitlines()[-1] == f"{2 * max(1, runners)} runs, True, True"

    from simgit import Repository

    with Repository.open(tmp_path / "repo") as repo:
        names = repo.runs.matching("ppo/*")
        for name in names:
            assert any(each.end != "open" for each in repo.episodes(name))
            for each in repo.episodes(name):
                if each.end != "open":
                    assert repo.attachment(f"{name}@{each.stop - 1}", "length") == each.steps
    for name in names:
        assert "exact" in call("simgit", "-C", str(tmp_path / "repo"), "verify", name)


@pytest.mark.slow
@pytest.mark.parametrize(("runners", "is_remote"), [(0, False), (2, True)])
def test_the_callback_records_all_episodes_and_keeps_checkpoints(
    tmp_path: Path, runners: int, is_remote: bool
) -> None:
    import numpy as np

    from simgit import Repository

    scratch, place = tmp_path / "scratch", tmp_path / "place"
    scratch.mkdir()
    environ = {
        **os.environ, "PYTHONPATH": str(ROOT),
        "SIMGIT_CONFIG_DIR": str(tmp_path / "config"),
    }  # fmt: skip
    if not is_remote:
        Repository.init(place).close()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.integrations.rllib_callback_script",
         str(place), str(runners), str(scratch)],
        env=environ, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    with (
        Repository.clone(str(place), tmp_path / "clone") if is_remote else Repository.open(place)
    ) as repo:
        assert not repo.fsck().problems
        names = repo.runs.matching("ppo/runner/*")
        assert len(names) == max(1, runners)
        whole = [each for name in names for each in repo.episodes(name)]
        assert len(whole) == told["episodes"] > 10
        assert {each.end for each in whole} <= {"terminated", "truncated"}
        for name in names:
            run = repo[name]
            assert run.observations.dtype == np.float32 and run.observations.shape[1] == 4
            starts = run.episode_starts
            assert (np.ma.getmaskarray(run.column("action")) == starts).all()
            assert (run.rewards[~starts] == 1.0).all()
            _check_dynamics(run)
        kept = repo.trajectory("ppo/checkpoints")
        assert [each.info["iteration"] for each in kept] == [1, 2, 3]
        assert [each.info["return"] for each in kept] == pytest.approx(told["returns"])
        _check_checkpoint(repo, tmp_path / "restored")


def _check_dynamics(run: object) -> None:
    """Check that observations follow from each other by the actions in the rows, as CartPole's."""
    import gymnasium
    import numpy as np

    env = gymnasium.make("CartPole-v1").unwrapped
    env.reset()
    observations, starts = run.observations, run.episode_starts  # type: ignore[attr-defined]
    actions = run.column("action")  # type: ignore[attr-defined]
    for i in np.flatnonzero(~starts)[:300].tolist():
        env.state = tuple(observations[i - 1].astype(float))
        env.steps_beyond_terminated = None
        found = env.step(int(actions[i]))[0]
        np.testing.assert_allclose(found, observations[i], atol=1e-5)


def _check_checkpoint(repo: object, folder: Path) -> None:
    """Check that RLlib loads a checkpoint that is written to a directory again."""
    from ray.rllib.core.rl_module.rl_module import RLModule

    from simgit.integrations.ray.rllib import restore_checkpoint

    where = restore_checkpoint(repo, "ppo/checkpoints", folder)  # type: ignore[arg-type]
    assert (where / "algorithm_state.pkl").is_file() or any(where.glob("algorithm_state*"))
    module = RLModule.from_checkpoint(
        where / "learner_group" / "learner" / "rl_module" / "default_policy"
    )
    assert sum(each.numel() for each in module.parameters()) > 100
