"""``simgit sim watch``: a simulation from now on, until it ends."""

from __future__ import annotations

import select
import shlex
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import click

from simgit.cli.app import App, answer_no, command
from simgit.cli.output import Output, Progress, progress, say
from simgit.cli.params import RUN, settings
from simgit.cli.sim.look import STYLES, fields_text, note_end
from simgit.errors import SimgitError

if TYPE_CHECKING:
    from simgit.live import Simulation
    from simgit.repository import Repository

_EVERY: Final = 0.1
"""Seconds between two looks."""
_TELL: Final = 1.0
"""Seconds between two records of the progress with ``--json``."""


@command("watch", example="simgit sim watch swing-1", at_op=False)
@click.argument("run", type=RUN)
@click.option("--all", "whole", is_flag=True, help="Its log from the beginning.")
def watch(app: App, run: str, whole: bool, as_json: bool) -> None:
    """Follow a simulation until it ends: phase, progress, questions, log.

    At a terminal its questions are answered here: fields as NAME=VALUE, Enter for the defaults.
    Ctrl-C leaves the simulation running. Exits with 0 if it completed, else with 1.
    """
    from simgit.live import find

    with app.repository() as repo, app.output() as out:
        one = find(repo, run)
        follow(out, repo, one, as_json, whole=whole or one.phase == "ended")


def follow(
    out: Output, repo: Repository, one: Simulation, as_json: bool, *, whole: bool = True
) -> None:
    """Show a simulation until it has ended; exit with 1 if it did not complete."""
    follower = _Follower(out, repo, one, as_json)
    if not whole:
        follower.skip()
    try:
        with progress(one.run, not as_json) as tell:
            outcome = follower.run(tell)
    except KeyboardInterrupt:
        if one.phase != "ended":
            say(f"{one.run} keeps running: {how_to(one.run)}")
        raise
    if outcome != "completed":
        answer_no()


def how_to(run: str) -> str:
    """Return how a simulation is followed and stopped."""
    return f"'simgit sim watch {run}' follows it, 'simgit sim stop {run}' stops it"


class _Follower:
    """Shows what is new of a simulation at each look."""

    def __init__(self, out: Output, repo: Repository, one: Simulation, as_json: bool) -> None:
        self._out = out
        self._repo = repo
        self._one = one
        self._as_json = as_json
        self._execution = one.record.execution
        self._after = 0
        self._phase = ""
        self._told = (0.0, None)
        self._asked: dict[int, dict[str, Any]] = {}
        self._can_answer = not as_json and sys.stdin.isatty()

    def skip(self) -> None:
        """Leave out what is in the log already, but its last lines."""
        while self._lines(show=False):
            pass

    def run(self, tell: Progress) -> str:
        """Show everything until it has ended; return how."""
        while True:
            note_end(self._repo, self._one)
            found = self._one.record
            if found.execution != self._execution:  # somebody has restarted it
                self._execution, self._after = found.execution, 0
            is_over = found.phase == "ended"
            if not is_over:
                self._tell_phase(self._one.phase)
            self._lines()
            if is_over:
                while self._lines():
                    pass
                self._tell_end(str(found.outcome), found.reason)
                return str(found.outcome)
            with suppress(SimgitError):  # it begins, ends, or is frozen
                self._look(self._one.look(1.0), tell)
            self._wait()

    def _look(self, status: dict[str, Any], tell: Progress) -> None:
        found = status.get("progress")
        if found is not None:
            tell(found["done"], found["total"])
            then, known = self._told
            if self._as_json and found["done"] != known and time.monotonic() > then + _TELL:
                self._told = (time.monotonic(), found["done"])
                self._out.json({"run": self._one.run, "progress": found})
        waiting = {each["number"]: each for each in status.get("questions", [])}
        for number, each in waiting.items():
            if number not in self._asked:
                self._ask(each)
        self._asked = waiting

    def _ask(self, question: dict[str, Any]) -> None:
        if self._as_json:
            self._out.json({"run": self._one.run, "question": question})
            return
        run, fields = self._one.run, fields_text(question["form"])
        self._out.line(self._out.paint(f"{run} asks: {question['text']}", "warn"))
        if self._can_answer:
            say(f"answer with {fields}, or Enter for that")
        else:
            self._out.line(f"answer with 'simgit sim answer {run} {fields}'")

    def _wait(self) -> None:
        """Wait a moment, or until somebody has typed an answer."""
        if not (self._can_answer and self._asked):
            time.sleep(_EVERY)
            return
        if not select.select([sys.stdin], [], [], _EVERY)[0]:
            return
        line = sys.stdin.readline()
        if not line:  # the end of the input
            self._can_answer = False
            return
        number, question = next(iter(self._asked.items()))
        try:
            value = answer_of(question["form"], shlex.split(line))
            given = self._one.answer(value, question=number, by=person())
            say(f"answered: {given}")
        except (SimgitError, ValueError, click.UsageError) as error:
            say(f"error: {error.message if isinstance(error, click.UsageError) else error}")

    def _lines(self, show: bool = True) -> bool:
        """Show the next lines of the log; return whether there were any."""
        lines, after = self._one.lines(self._after)
        is_more, self._after = after > self._after, after
        if show and self._as_json:
            for line in lines:
                self._out.json({"run": self._one.run, "line": line})
        elif show and lines:
            self._out.lines(lines)
        return is_more

    def _tell_phase(self, phase: str) -> None:
        if phase == self._phase:
            return
        self._phase = phase
        if self._as_json:
            self._out.json({"run": self._one.run, "phase": phase})
        else:
            self._out.line(f"{self._one.run} is {self._out.paint(phase, STYLES.get(phase, ''))}")

    def _tell_end(self, outcome: str, reason: str | None) -> None:
        if self._as_json:
            self._out.json({"run": self._one.run, "outcome": outcome, "reason": reason})
            return
        why = f": {reason}" if reason else ""
        self._out.line(f"{self._one.run} {self._out.paint(outcome, STYLES.get(outcome, ''))}{why}")


def answer_of(form: dict[str, Any], words: list[str]) -> dict[str, Any]:
    """Return an answer from NAME=VALUE; a form of one field takes its value alone.

    Raises:
        UsageError: a word is neither.
    """
    fields = list(form.get("properties", {}))
    if len(fields) == 1 and len(words) == 1 and "=" not in words[0]:
        words = [f"{fields[0]}={words[0]}"]
    return settings(tuple(words))


def person() -> str | None:
    """Return the name of the user who types, None if it is unknown."""
    import getpass

    with suppress(OSError, KeyError):
        return getpass.getuser()
    return None
