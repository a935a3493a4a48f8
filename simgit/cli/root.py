"""The root of the command line: global options, lazy commands, errors and exit codes."""

from __future__ import annotations

import contextlib
import importlib
import keyword
import re
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from simgit import __version__
from simgit.cli.app import Advice, App, no_such_command, no_such_option
from simgit.cli.commands import COMMANDS, FLAT, overview
from simgit.cli.exits import USAGE, quiet_pipe
from simgit.cli.git_words import about_revision
from simgit.cli.output import say
from simgit.errors import NotFound, SimgitError, SimgitWarning, visible

FATAL: Final = 128
INTERRUPTED: Final = 130
_WORDS: Final = "simgit.words"
_CLICK_BEGINS: Final = ("Got ", "Invalid ", "Missing ", "No ", "Option ")
"""How click's own messages begin."""

EXTRAS: Final = {
    "gymnasium": "gym", "torch": "torch", "matplotlib": "plot", "imageio": "video", "PIL": "video",
    "fastapi": "web", "starlette": "web", "uvicorn": "web",
}  # fmt: skip
"""Optional packages that commands need: package to extra."""


class ReaderLeft(Exception):
    """The reader of stdout has left; click has another meaning for the OSError."""


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
            what = f"'{ctx.meta[_WORDS][0]}' needs {package}"
            raise NotFound(f"{what}: pip install 'simgit[{EXTRAS[package]}]'") from error
        except BrokenPipeError:
            raise ReaderLeft from None
        except KeyboardInterrupt:
            raise Interrupted from None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the global options; ``help log`` is ``log --help``, ``help --all`` is longer."""
        if args[:1] == ["help"] and args[1:] in (["--all"], ["-a"]):
            print(super().get_help(ctx))
            ctx.exit()
        return super().parse_args(ctx, [*args[1:], "--help"] if args[:1] == ["help"] else args)

    def get_help(self, ctx: click.Context) -> str:
        """Return the first screen."""
        return overview()

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(FLAT)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, its module imported."""
        if cmd_name not in FLAT:
            return None
        module = importlib.import_module(f"simgit.cli.{FLAT[cmd_name][0]}")
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
        if not name.startswith("-") and name not in FLAT and not ctx.resilient_parsing:
            raise no_such_command(ctx, name, FLAT)
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run the command line; every error becomes one line and an exit code."""
        call: Callable[..., Any] = super().main
        if not standalone_mode:
            return call(*args, standalone_mode=False, **extra)
        given = args[0] if args else extra.get("args")
        words = list(sys.argv[1:] if given is None else given)
        words = words[: words.index("--")] if "--" in words else words
        run = partial(call, *args, standalone_mode=False, **extra)
        sys.exit(guarded(run, "--debug" in words, "--json" in words))


def guarded(call: Callable[[], Any], debug: bool = False, as_json: bool = False) -> int:
    """Run a command; return its exit code, its errors and warnings printed on stderr."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", SimgitWarning)
            warnings.showwarning = partial(_warn, as_json, set())
            code = call()
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (ReaderLeft, BrokenPipeError):
        return quiet_pipe()
    except (Interrupted, KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except click.UsageError as error:
        return _usage(error, as_json)
    except (SimgitError, click.ClickException, OSError, MemoryError) as error:
        if debug:
            _trace(error)
        return _fatal(_message(error), error, as_json)
    except SystemExit as error:  # of an environment, or of a package that it imports
        what = f"the code of the environment ended the program (exit code {error.code})"
        return _fatal(what, error, as_json)
    except Exception as error:  # a defect of simgit
        if debug:
            _trace(error)
        what = f"internal error: {type(error).__name__}: {error}"
        return _fatal(what if debug else f"{what} (--debug shows where)", error, as_json)


def _trace(error: BaseException) -> None:
    import traceback

    say("".join(traceback.format_exception(error)).rstrip("\n"))


def _say_json(kind: str, type_: type, message: str, **more: Any) -> None:
    """Print an error or a warning as a JSON document on a line of stderr."""
    import json

    from simgit.objects.json_form import record_to_json

    text = json.dumps({kind: {"type": type_.__name__, "message": message} | record_to_json(more)})
    say(text)


def _warn(
    as_json: bool,
    told: set[str],
    message: Warning | str,
    category: type[Warning],
    *where: Any,
    **extra: Any,
) -> None:
    """Print a warning: simgit's own on a line and once in a command, others as Python does."""
    if issubclass(category, SimgitWarning):
        if str(message) in told:
            return
        told.add(str(message))
    if as_json:
        _say_json("warning", category, str(message))
    elif issubclass(category, SimgitWarning):
        say(f"warning: {message}")
    else:
        text = warnings.formatwarning(message, category, *where[:2])
        say(re.sub("\x1b\\[[0-9;]*m", "", text).rstrip("\n"))  # Gymnasium colours its warnings


def _message(error: BaseException) -> str:
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, OSError):
        where = f" '{error.filename}'" if error.filename is not None else ""
        return f"{(error.strerror or str(error)).lower()}{where}"
    if isinstance(error, MemoryError):
        return "out of memory"
    revision = vars(error).get("revision")
    advice = about_revision(revision) if isinstance(revision, str) else ""
    is_near = "; did you mean" in str(error)
    return f"'{revision}' is not a revision{advice}" if advice and not is_near else str(error)


def _fatal(message: str, error: BaseException, as_json: bool) -> int:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    if as_json:
        from simgit.repository.jsonable import error_data

        data = error_data(error) if isinstance(error, SimgitError) else {}
        _say_json("error", type(error), message, exit=FATAL, data=data)
    else:
        say(f"fatal: {visible(message)}")
    return FATAL


def _usage(error: click.UsageError, as_json: bool) -> int:
    if as_json:
        return _usage_record(error)
    if type(error).__name__ == "NoArgsIsHelpError":  # a group without its command
        say(error.format_message())
        return USAGE
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        error = no_such_option(error.ctx, error.option_name)
    path = error.ctx.command_path if error.ctx else "simgit"
    say(f"error: {_usage_message(error)}")
    if not isinstance(error, Advice):
        say(f"hint: see '{path} --help'")
    return USAGE


def _usage_message(error: click.UsageError) -> str:
    message = error.format_message().rstrip(".")
    message = " ".join(message.split("\n")).replace("\t", "")
    # the others may begin with a name, such as HEAD
    return message[:1].lower() + message[1:] if message.startswith(_CLICK_BEGINS) else message


def _usage_record(error: click.UsageError) -> int:
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        error = no_such_option(error.ctx, error.option_name)
    path = error.ctx.command_path if error.ctx else "simgit"
    _say_json("error", click.UsageError, _usage_message(error), exit=USAGE, command=path)
    return USAGE


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        print(f"simgit {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    subcommand_metavar="COMMAND [ARGS]…",
)
@click.option("-C", "directories", metavar="DIR", multiple=True, help="Run as if started in DIR.")
@click.option("--at-op", "at", metavar="OP", help="Show the repository as it was after OP.")
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
    """Git for simulations: every state of every run is kept and can be branched from.

    The repository is searched for from the current directory upwards, or is that of -C DIR or
    SIMGIT_DIR.

    \b
    A revision names a state:
      HEAD  main  tags/v1  3f9a2c41    a run, a tag, the beginning of an oid
      origin/main                      a run of a remote, as it was last seen there
      main~3  main^2  main@{2}         ancestors, parents, the reflog's entry 2
      main@{yesterday}  @{-1}          the run at a time, HEAD before the last checkout
      main@200  main@ep5  main@ep5.10  a step, an episode, a state in it
      main@t=12.5                      the last state at or before this time of the simulator
      a..b  a...b  main@100..200       ranges, for log and diff
    """
    where = Path(*directories) if directories else Path()
    if directories and not where.is_dir():
        why = "not a directory" if where.exists() else "no such directory"
        raise NotFound(f"cannot start in '{where}' (-C): {why}", path=where)
    ctx.obj = App(where, pager=not no_pager, at=at, words=ctx.meta.get(_WORDS, ()))
