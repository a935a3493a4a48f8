"""simgit video: a film of what nobody filmed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

from simgit.gym import Recorder
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE


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


@pytest.mark.slow
def test_playing_records_a_run_of_its_own(repo, process) -> None:
    code = """
import sys, threading
import pygame
from simgit.cli import main

shown, flip = threading.Semaphore(0), pygame.display.flip
pygame.display.flip = lambda: (flip(), shown.release())[0]

def person():
    shown.acquire()
    for _ in range(int(sys.argv[1])):
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=ord("d")))
        for _ in range(5):
            shown.acquire()
    pygame.event.post(pygame.event.Event(pygame.QUIT))

threading.Thread(target=person, daemon=True).start()
main(["play", "main@5", "--fps", "20"])
"""
    for presses, said in ((1, "[play/main-1] "), (0, "no action was taken")):
        done = subprocess.run(
            [sys.executable, "-c", code, str(presses)], capture_output=True, text=True, check=False,
            env=os.environ | {"SDL_VIDEODRIVER": "dummy", "PYTHONPATH": str(ROOT)}, timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == 0 and done.stdout.splitlines()[-1].startswith(said), done
    runs = [record["name"] for record in repo("run", "list", "--json").records]
    assert runs == ["main", "play/main-1"]
    assert "is not JSON" in repo("play", "main@5", "--noop", "x", code=2).err
    assert [record["name"] for record in repo("run", "list", "--json").records] == runs
