"""Options of programs that run before and after a training or a simulation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from simgit.kube.hooks import Hooks

F = TypeVar("F", bound=Callable[..., Any])
_NAMES: Final = ("pre_hook", "post_hook", "hook_timeout")


def hook_options(function: F) -> F:
    """Add --pre-hook, --post-hook and --hook-timeout; ``hooks_of`` takes them."""
    for option in (
        click.option("--hook-timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
                     help="Time limit of each hook in seconds (default 60)."),
        click.option("--post-hook", metavar="COMMAND",
                     help="Program to run after the training, or after each live simulation."),
        click.option("--pre-hook", metavar="COMMAND",
                     help="Program to run before it; without a shell."),
    ):  # fmt: skip
        function = option(function)
    return function


def hooks_of(given: dict[str, Any]) -> Hooks:
    """Return the hooks of the options, and remove these.

    Raises:
        InvalidInput: there is no such program, or a quote is not closed.
    """
    from simgit.kube.hooks import SECONDS, Hooks, parse

    pre, post, seconds = (given.pop(name) for name in _NAMES)
    if seconds is not None and pre is None and post is None:
        raise click.UsageError("--hook-timeout needs --pre-hook or --post-hook")
    return Hooks(
        () if pre is None else parse(pre, "--pre-hook"),
        () if post is None else parse(post, "--post-hook"),
        SECONDS if seconds is None else seconds,
    )
