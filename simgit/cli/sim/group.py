"""``simgit sim``: the group of commands on simulations."""

from __future__ import annotations

import click

from simgit.cli.app import CommandGroup
from simgit.cli.sim.follow import watch
from simgit.cli.sim.look import list_, show
from simgit.cli.sim.start import clear, fork, restart, start, types, work
from simgit.cli.sim.steer import (
    answer,
    freeze,
    kill,
    pause,
    query,
    resume,
    set_,
    stop,
)


@click.group("sim", cls=CommandGroup)
def sim() -> None:
    """Start, watch, ask, steer and stop simulations.

    A simulation is a process that records a run. It keeps running when the command that started it
    ends, until it has ended by itself or is stopped.
    """


for each in (
    types, start, list_, show, watch, stop, kill, pause, resume, freeze, set_, query, answer,
    restart, fork, clear, work,
):  # fmt: skip
    sim.add_command(each)
