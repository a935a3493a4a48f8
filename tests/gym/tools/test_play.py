"""A person takes over; here a thread presses the keys, in a window that nobody sees."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from simgit import InvalidInput, NotFound, Repository
from simgit.gym import Recorder, verify
from simgit.gym.tools.play import LEFT, RIGHT, controls, play

ESCAPE = 27
KEYS = {"a": 0, "d": 2}


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    """A run of 20 steps of MountainCar."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")
    env = Recorder(gymnasium.make("MountainCar-v0"), tmp_path, provenance=False)
    env.reset(seed=3)
    for _ in range(20):
        env.step(2)
    env.close()
    with Repository.open(tmp_path) as repo:
        yield repo


def press(keys: Sequence[int], frames: int = 6) -> threading.Thread:
    """Press keys one after another as soon as there is a window, each for some frames; Escape."""

    def person() -> None:
        import pygame

        flip, shown = pygame.display.flip, threading.Semaphore(0)
        pygame.display.flip = lambda: (flip(), shown.release())[0]
        try:
            for key in keys:
                shown.acquire()
                pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))
                for _ in range(frames):
                    shown.acquire()
                pygame.event.post(pygame.event.Event(pygame.KEYUP, key=key))
            shown.acquire()
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=ESCAPE))
        finally:
            pygame.display.flip = flip

    thread = threading.Thread(target=person, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
def test_what_a_person_does_is_recorded_as_a_branch(repo: Repository) -> None:
    repo.branch("by-hand", "main@10")
    person = press([ord("a"), ord("d")])
    steps = play(repo, "by-hand", keys=KEYS, fps=50)
    person.join()
    states = repo["by-hand"]
    assert steps == len(states) - 11 > 4 and repo.runs["main"].step == 20
    actions = states.actions[11:].tolist()
    assert set(actions) == {0, 2} and actions == sorted(actions)
    assert states.lengths.tolist() == [10 + steps], "it went on: there was no reset"
    assert verify(repo, "by-hand").divergence is None


@pytest.mark.slow
def test_while_no_key_is_pressed_nothing_is_done(repo: Repository) -> None:
    repo.branch("idle", "main@10")
    person = press([])
    assert play(repo, "idle", keys=KEYS, fps=50) == 0
    person.join()
    repo.branch("noop", "main@10")
    person = press([ord("x"), ord("x")])
    assert play(repo, "noop", keys=KEYS, noop=1, fps=50) > 4
    person.join()
    assert set(repo["noop"].actions[11:].tolist()) == {1}


@pytest.mark.slow
def test_the_environments_own_keys_steer_it(repo: Repository) -> None:
    repo.branch("arrows", "main@10")
    person = press([LEFT, RIGHT])
    play(repo, "arrows", fps=50)
    person.join()
    assert {0, 2} <= set(repo["arrows"].actions[11:].tolist()) <= {0, 1, 2}


@pytest.mark.slow
def test_an_episode_that_is_over_begins_anew(tmp_path: Path, repo: Repository) -> None:
    env = Recorder(
        gymnasium.make("MountainCar-v0", max_episode_steps=3), tmp_path, "short", provenance=False
    )
    env.reset(seed=1)
    for _ in range(3):
        env.step(0)
    env.close()
    person = press([ord("d")])
    assert play(repo, "short", keys=KEYS, fps=20) > 1
    person.join()
    assert repo["short"].episode_starts[4] and repo["short"].actions[5] == 2
    begun = [i for i, oid in enumerate(repo["short"].oids) if "session" in repo.attachments(oid)]
    assert begun == [0], "it is the environment that there was"
    assert verify(repo, "short").divergence is None


def test_the_arrows_are_those_of_pygame() -> None:
    import pygame

    assert (LEFT, RIGHT) == (pygame.K_LEFT, pygame.K_RIGHT)


class Keyed(gymnasium.Env):
    """An environment with keys of its own."""

    action_space = spaces.Discrete(4)
    observation_space = spaces.Discrete(1)

    def get_keys_to_action(self) -> dict[str, int]:
        return {"w": 3}


def test_controls_are_those_given_or_the_environments_or_the_usual() -> None:
    keyed = gymnasium.Wrapper(Keyed())
    assert (controls(keyed).keys, controls(keyed).noop) == ({"w": 3}, 0)
    assert controls(keyed, {"q": 1}).keys == {"q": 1} and controls(keyed, {"q": 1}).noop is None
    cart = gymnasium.make("CartPole-v1")
    assert controls(cart).keys == {"0": 0, "1": 1, "a": 0, "d": 1, (LEFT,): 0, (RIGHT,): 1}
    car = gymnasium.make("MountainCar-v0")
    assert (
        controls(car).keys == {(LEFT,): 0, (RIGHT,): 2, (RIGHT, LEFT): 1}
        and controls(car).noop == 1
    )
    lake = gymnasium.make("FrozenLake-v1")
    assert controls(lake).keys == {"0": 0, "1": 1, "2": 2, "3": 3} and controls(lake).noop is None
    pendulum = gymnasium.make("Pendulum-v1")
    given = controls(pendulum, {"a": [-1.5]}, noop=[0])
    assert given.keys["a"].dtype == np.float32 and given.noop.tolist() == [0]
    with pytest.raises(InvalidInput, match=r"no default keys for Box.*give them"):
        controls(pendulum)
    with pytest.raises(InvalidInput, match="key 'z': 9 is not an action of"):
        controls(cart, {"z": 9})


def test_what_cannot_be_played_says_why(repo: Repository) -> None:
    repo.commit(0, run="plain")
    with pytest.raises(InvalidInput, match="was not recorded from an environment"):
        play(repo, "plain")
    with pytest.raises(NotFound):
        play(repo, "nope")
    with pytest.raises(InvalidInput, match="key 'q': 7 is not an action"):
        play(repo, "main", keys={"q": 7})
    assert repo.runs["main"].step == 20
