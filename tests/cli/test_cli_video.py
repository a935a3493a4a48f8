"""simgit video: a film of what nobody filmed."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import pytest

from simgit.gym import Recorder


@pytest.fixture
def repo(run, directory: Path):
    env = Recorder(gymnasium.make("CartPole-v1"), directory, provenance=False)
    env.action_space.seed(0)
    env.reset(seed=1)
    for _ in range(10):
        env.step(env.action_space.sample())
    env.close()
    return run


def test_a_film_is_written(repo, directory: Path) -> None:
    assert repo("video", "main@2..6", "-o", "a.gif").out == "wrote a.gif: 4 frames, 0.1 s\n"
    assert (directory / "a.gif").read_bytes().startswith(b"GIF89a")
    found = repo("video", "--every", "5", "--fps", "2", "-o", "frames", "--json").json
    assert found == {"file": "frames", "frames": 3, "fps": 2.0}
    assert len(list((directory / "frames").iterdir())) == 3


def test_a_film_that_cannot_be_is_an_error_and_leaves_nothing(repo, directory: Path) -> None:
    for args, code, said in (
        (["nope", "-o", "a.gif"], 128, "revision 'nope' not found"),
        (["-o", "a.gif", "--fps", "0"], 2, "--fps"),
        ([], 2, "--output"),
    ):
        assert said in repo("video", *args, code=code).err
    repo("commit", "--run", "plain", "-o", "1")
    assert (
        "was not recorded from an environment"
        in repo("video", "plain", "-o", "a.gif", code=128).err
    )
    assert [path.name for path in directory.iterdir()] == [".simgit"]
