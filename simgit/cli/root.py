"""The root of the command line: global options, lazy commands, errors and exit codes."""

from __future__ import annotations

import contextlib
import importlib
import io
import keyword
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click

from simgit.cli.app import App
from simgit.errors import NotFound, SimgitError, SimgitWarning

FATAL: Final = 128
INTERRUPTED: Final = 130
CLOSED_PIPE: Final = 141
_WORDS: Final = "simgit.words"

COMMANDS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "Start and record": {
        "init": ("start", "Create a repository."),
        "commit": ("record", "Record a state, or a stream of states."),
        "record": ("gymnasium_record", "Record a Gymnasium environment."),
    },
    "Look at history and data": {
        "log": ("log", "Show the states that lead to a revision."),
        "show": ("show", "Show a state, a run or a tag with its values."),
        "diff": ("diff", "Compare states, runs or configurations."),
        "plot": ("plot", "Show returns and lengths of runs over episodes."),
        "tree": ("tree", "Show which run was branched off which."),
        "video": ("video", "Render recorded states as a film."),
        "play": ("play", "Take over with the keyboard at a recorded state."),
        "status": ("checkout", "Show where HEAD is."),
        "reflog": ("refs", "Show what a ref was before."),
        "merge-base": ("ancestry", "Find the common ancestor of two revisions."),
        "lineage": ("ancestry", "Show which runs a run was branched off."),
        "children": ("ancestry", "List the states that follow a state."),
        "leaves": ("ancestry", "List the states that nothing follows."),
    },
    "Branch and name": {
        "branch": ("branch", "List, create, rename or delete runs."),
        "checkout": ("checkout", "Point HEAD at a run or a state."),
        "tag": ("refs", "List, create or delete tags."),
        "config": ("config", "Show or change the configuration of a run."),
        "run": ("run", "Show runs, and set how they stand."),
    },
    "Undo": {
        "undo": ("operations", "Take back an operation."),
        "redo": ("operations", "Do again what was undone last."),
        "op": ("operations", "List, show and restore operations."),
    },
    "Files and attachments": {
        "attach": ("attachments", "Bind a file to a state."),
        "attachments": ("attachments", "List, print or remove what is bound to a state."),
    },
    "Train agents": {
        "train": ("train", "Train an agent, or go on with a training."),
        "evaluate": ("evaluate", "Say how good an agent is."),
        "merge": ("merge", "Take the mean of several agents."),
    },
    "SimKube": {
        "trace": ("trace", "Generate, show, change and check traces."),
        "step": ("step", "Take one step of an agent on a trace, and show all of it."),
        "kube": ("kube", "Show the cluster of a recorded state, or of a trace."),
    },
    "Copy and carry": {
        "clone": ("start", "Copy a repository, also while it is written."),
        "bundle": ("bundle", "Write runs and tags into a file, and look at one."),
        "import": ("bundle", "Import the runs and tags of a bundle."),
    },
    "Restore and check": {
        "verify": ("verify", "Execute a run again and compare state for state."),
        "bisect": ("bisect", "Find the first state in which two runs differ."),
        "doctor": ("doctor", "Tell whether an environment can be restored exactly."),
        "what-if": ("whatif", "Try actions from a state, many times, in parallel."),
        "trust": ("trust", "Let snapshots of this repository be loaded that hold pickles."),
    },
    "Maintenance": {
        "gc": ("maintain", "Join small pieces and give back the space."),
        "stats": ("stats", "Show where the bytes are."),
        "fsck": ("maintain", "Check every name and every link."),
    },
    "Plumbing": {
        "rev-parse": ("plumbing", "Turn revisions into full oids."),
        "cat-file": ("plumbing", "Print an object, its kind or its size."),
        "ls-tree": ("plumbing", "List the entries of a tree of files."),
        "completion": ("completion", "Print the completion script of a shell."),
    },
}
"""Section to command to (module in this package, one line of help)."""

EXTRAS: Final = {
    "gymnasium": "gym", "torch": "torch", "matplotlib": "plot", "imageio": "video", "PIL": "video",
}  # fmt: skip
"""What a command may need that is not installed with simgit: package to extra."""

_FLAT: Final = {name: where for section in COMMANDS.values() for name, where in section.items()}


class ReaderLeft(Exception):
    """Nobody reads stdout any more; click has another meaning for the OSError."""


class Interrupted(Exception):
    """Ctrl-C; click would print a line for the KeyboardInterrupt."""


class LazyGroup(click.Group):
    """Imports the module of a command when the command is called or completed."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in EXTRAS:
                raise
            raise _missing(ctx.meta[_WORDS][0], package) from error
        except BrokenPipeError:
            raise ReaderLeft from None
        except KeyboardInterrupt:
            raise Interrupted from None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the global options; ``help log`` is ``log --help``."""
        return super().parse_args(ctx, [*args[1:], "--help"] if args[:1] == ["help"] else args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(_FLAT)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, its module imported."""
        if cmd_name not in _FLAT:
            return None
        module = importlib.import_module(f"simgit.cli.{_FLAT[cmd_name][0]}")
        attribute = cmd_name.replace("-", "_") + "_" * keyword.iskeyword(cmd_name)
        command: click.Command = getattr(module, attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by section, importing none of them."""
        for section, commands in COMMANDS.items():
            with formatter.section(section):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is asked for; an unknown one is a usage error."""
        name = args[0]
        ctx.meta[_WORDS] = tuple(args)
        if not name.startswith("-") and name not in _FLAT and not ctx.resilient_parsing:
            raise click.UsageError(f"'{name}' is not a simgit command{_similar(name)}", ctx)
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run the command line; every error becomes one line and an exit code."""
        call: Callable[..., Any] = super().main
        if not standalone_mode:
            return call(*args, standalone_mode=False, **extra)
        given = args[0] if args else extra.get("args")
        debug = "--debug" in (sys.argv[1:] if given is None else given)
        sys.exit(guarded(lambda: call(*args, standalone_mode=False, **extra), debug))


def _similar(name: str) -> str:
    near = min(_FLAT, key=lambda known: (_distance(name, known), abs(len(name) - len(known))))
    is_near = near.startswith(name) or _distance(name, near) <= max(1, len(name) // 3)
    return f"; did you mean '{near}'?" if is_near else ""


def _distance(a: str, b: str) -> int:
    """Return how many letters were changed, left out, added, or exchanged with their neighbour."""
    rows = [list(range(len(b) + 1))]
    for i, x in enumerate(a, 1):
        rows.append([i])
        for j, y in enumerate(b, 1):
            steps = [rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (x != y)]
            if i > 1 and j > 1 and x == b[j - 2] and y == a[i - 2]:
                steps.append(rows[i - 2][j - 2] + 1)
            rows[i].append(min(steps))
    return rows[-1][-1]


def _missing(command: str, package: str) -> NotFound:
    return NotFound(f"'{command}' needs {package}: pip install 'simgit[{EXTRAS[package]}]'")


def guarded(call: Callable[[], Any], debug: bool = False) -> int:
    """Run a command; return its exit code, its errors printed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", SimgitWarning)
            warnings.showwarning = _warn
            code = call()
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (ReaderLeft, BrokenPipeError):
        return _quiet_pipe()
    except (Interrupted, KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except click.UsageError as error:
        return _usage(error)
    except (SimgitError, click.ClickException, OSError, MemoryError) as error:
        if debug:
            import traceback

            traceback.print_exception(error)
        return _fatal(_message(error))
    except Exception as error:  # a defect of simgit
        if debug:
            import traceback

            traceback.print_exception(error)
        what = f"internal error: {type(error).__name__}: {error}"
        return _fatal(what if debug else f"{what} (--debug shows where)")


def _warn(message: Warning | str, category: type[Warning], *where: Any, **extra: Any) -> None:
    """Print a warning as people read it: ours on a line, what others give as Python does."""
    if issubclass(category, SimgitWarning):
        print(f"warning: {message}", file=sys.stderr)
    else:
        sys.stderr.write(warnings.formatwarning(message, category, *where[:2]))


def _message(error: BaseException) -> str:
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, OSError):
        where = f" '{error.filename}'" if error.filename is not None else ""
        return f"{(error.strerror or str(error)).lower()}{where}"
    return "out of memory" if isinstance(error, MemoryError) else str(error)


def _fatal(message: str) -> int:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    print(f"fatal: {message}", file=sys.stderr)
    return FATAL


def _quiet_pipe() -> int:
    """Nobody reads on: point stdout at nothing, so that the interpreter's last flush is quiet."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return CLOSED_PIPE


def _usage(error: click.UsageError) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":  # a group without its command
        print(error.format_message(), file=sys.stderr)
        return 2
    path = error.ctx.command_path if error.ctx else "simgit"
    message = error.format_message().rstrip(".").replace("\n", " ")
    print(f"error: {message[:1].lower()}{message[1:]}", file=sys.stderr)
    print(f"hint: see '{path} --help'", file=sys.stderr)
    return 2


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from simgit import __version__

        print(f"simgit {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    subcommand_metavar="COMMAND [ARGS]…",
)
@click.option("-C", "directories", metavar="DIR", multiple=True, help="Run as if started in DIR.")
@click.option("--at-op", "at", metavar="OP", help="Show what was after an operation.")
@click.option("--no-pager", is_flag=True, help="Do not page the output.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version,
    help="Show the version.",
)  # fmt: skip
@click.pass_context
def cli(
    ctx: click.Context, directories: tuple[str, ...], at: str | None, no_pager: bool, debug: bool
) -> None:
    """Git for simulations: every state of every run is kept, named, and can be branched from.

    A repository is found from the current directory upwards, or by -C DIR or SIMGIT_DIR.

    \b
    A revision names a state:
      HEAD  main  tags/v1  3f9a2c41    a run, a tag, the beginning of an oid
      main~3  main^2  main@{2}         ancestors, parents, what it was before
      main@200  main@ep5  main@ep5.10  a step, an episode, a state in it
      a..b  a...b  main@100..200       ranges, for log and diff
    """
    where = Path(*directories) if directories else Path()
    ctx.obj = App(where, pager=not no_pager, at=at, words=ctx.meta.get(_WORDS, ()))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit; the entry point."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")  # not every encoding has all that is printed
    cli.main(list(argv) if argv is not None else None, prog_name="simgit")
