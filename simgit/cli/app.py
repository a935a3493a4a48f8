"""The parts of every command: the repository, printing, errors of usage."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from simgit.cli.git_words import FIRST, FORMER, about_command, about_option
from simgit.cli.output import Output, Pager, use_color
from simgit.errors import did_you_mean

if TYPE_CHECKING:
    from simgit.repository import Repository


F = TypeVar("F", bound=Callable[..., Any])
EXIT_NO: Final = 1
_NUMBERS: Final = {"integer": "N", "integer range": "N", "float": "X", "float range": "X"}
"""Type of an option to the letter for its value in the help."""


class App:
    """One call of the command line."""

    def __init__(
        self,
        directory: Path,
        *,
        pager: bool = True,
        at: str | None = None,
        words: tuple[str, ...] = (),
    ) -> None:
        """Note the global options; ``words`` are the command that was given and its arguments."""
        self.directory = directory
        self.pager = pager
        self.at = at
        self.words = words

    def path(self, text: str | Path) -> Path:
        """Return a path that the user gave, relative to ``-C``."""
        return self.directory / text

    def repository(self, *, anyone: bool = False) -> Repository:
        """Open the repository of SIMGIT_DIR, or of the directory or the nearest one above it.

        With ``anyone`` it may be another user's. Its operations are logged
        under the command that was given.
        """
        from simgit.repository import Repository

        named = os.environ.get("SIMGIT_DIR")
        if named:
            found = Repository.open(self.directory / named)
        else:
            found = Repository.discover(self.directory, anyone=anyone)
        if self.words:
            found.name_command(*self.words)
        return found if self.at is None else found.at_operation(self.at)

    @contextmanager
    def output(self, *, page: bool = False) -> Iterator[Output]:
        """Yield an output, through the pager if ``page`` and stdout is a terminal."""
        with Pager(page and self.pager) as stream:
            yield Output(stream, use_color())


class Advice(click.UsageError):
    """Wrong usage whose message says what to do instead, so that no help need be consulted."""


def no_such_command(ctx: click.Context, name: str, known: Iterable[str]) -> click.UsageError:
    """Return the error for an unknown command: what to do instead, or the nearest right word."""
    path = ctx.command_path.removeprefix("simgit").strip()
    if advice := about_command(f"{path} {name}".strip()):
        return Advice(f"'{name}' is not a {ctx.command_path} command{advice}", ctx)
    near = did_you_mean(name, known)
    if not near and path in FIRST:
        return Advice(
            f"'{name}' is not a {ctx.command_path} command; did you mean "
            f"'{ctx.command_path} {FIRST[path]} {name}'?",
            ctx,
        )
    return click.UsageError(f"'{name}' is not a {ctx.command_path} command{near}", ctx)


def no_such_option(ctx: click.Context, option: str) -> click.UsageError:
    """Return the error for an unknown option: what to do instead, or the nearest right one."""
    path = ctx.command_path.removeprefix("simgit").strip()
    if advice := about_option(path, option):
        return Advice(f"'{ctx.command_path}' has no option '{option}'{advice}", ctx)
    known = [
        name
        for param in ctx.command.get_params(ctx)
        if isinstance(param, click.Option) and not param.hidden
        for name in (*param.opts, *param.secondary_opts)
    ]
    near = did_you_mean(option, known) if option.startswith("--") else ""
    return click.UsageError(f"'{ctx.command_path}' has no option '{option}'{near}", ctx)


class NumberParam(click.ParamType):  # type: ignore[type-arg]
    """A number within the bounds of one of click's types, refused in plain words."""

    def __init__(self, inner: click.ParamType) -> None:  # type: ignore[type-arg]
        """Note click's type, which says what is accepted."""
        self.name = inner.name
        self.inner = inner

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number."""
        try:
            return self.inner.convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"'{value}' must be {self._rule()}", param, ctx)

    def _rule(self) -> str:
        kind = "a whole number" if self.name.startswith("integer") else "a number"
        low, high = getattr(self.inner, "min", None), getattr(self.inner, "max", None)
        if high is not None:
            return f"{kind} from {low} to {high}"
        above = "greater than {}" if getattr(self.inner, "min_open", False) else "of {} or more"
        return kind if low is None else f"{kind} {above.format(low)}"


class Command(click.Command):
    """A command whose help ends with an example."""

    def __init__(self, *args: Any, example: str = "", at_op: bool = True, **extra: Any) -> None:
        super().__init__(*args, **extra)
        self.example = example
        self.at_op = at_op

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; refuse a global option that it would ignore."""
        if not self.at_op and isinstance(ctx.obj, App) and ctx.obj.at is not None:
            raise click.UsageError(f"--at-op cannot be used with '{ctx.info_name}'", ctx)
        return super().invoke(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; as in git, -5 is short for -n 5 where -n takes a number."""
        options = [param for param in self.params if isinstance(param, click.Option)]
        given = list(args)
        with usage_errors_in(ctx):
            try:
                return super().parse_args(ctx, _spelled_out(args, options))
            except click.BadParameter:
                for arg in given:  # git's -am is -a with the value 'm' here
                    if len(arg) == 3 and isinstance(error := no_such_option(ctx, arg), Advice):
                        raise error from None
                raise

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example."""
        with formatter.section("Example"):
            for line in self.example.splitlines():
                formatter.write(f"  {line}\n")


def _spelled_out(args: list[str], options: Iterable[click.Option]) -> list[str]:
    """Return arguments with -5 as -n 5, and short and former options as long ones.

    Values stay as they are.

    click looks for a short option among the long ones first, and for what that could have meant:
    3 ms at the start of a command.
    """
    long = {name: max(option.opts, key=len) for option in options for name in option.opts}
    former = {old: new for old, new in FORMER.items() if new in long and old not in long}
    valued = {
        name for option in options if not (option.is_flag or option.count) for name in option.opts
    }
    found: list[str] = []
    left = iter(args)
    for arg in left:
        if arg[:1] == "-" and arg[1:].isdecimal() and "-n" in valued:
            found += [long["-n"], arg[1:]]
            continue
        old, equals, rest = arg.partition("=")
        arg = former.get(old, old) + equals + rest
        value = list(islice(left, 1)) if arg in valued else []
        is_whole = arg in long and (value or arg not in valued)  # else the error says what is typed
        found += [long[arg] if is_whole else arg, *value]
        if arg == "--":
            break
    return [*found, *left]


@contextmanager
def usage_errors_in(ctx: click.Context) -> Iterator[None]:
    """Let usage errors name the command that they are of; click's parser leaves that out."""
    try:
        yield
    except click.UsageError as error:
        error.ctx = error.ctx or ctx
        raise


class CommandGroup(click.Group):
    """A group whose help has the first sentence of each command, whole."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments of the group itself."""
        with usage_errors_in(ctx):
            return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is asked for; an unknown one is a usage error."""
        if args[0] not in self.commands and args[0][:1] != "-" and not ctx.resilient_parsing:
            raise no_such_command(ctx, args[0], self.commands)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _sentence(self.commands[name])) for name in self.commands])


def _sentence(command: click.Command) -> str:
    paragraph = " ".join((command.help or "").partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].removesuffix(".") + "."


def command(
    name: str, *, example: str, at_op: bool = True
) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command: it is passed the App, and ``as_json`` for ``--json``.

    Args:
        name: name of the command.
        example: calls of it, one per line.
        at_op: whether it can look at the repository as it was after an operation.
    """

    def wrap(function: Callable[..., Any]) -> Command:
        with_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)
        made = click.command(name, cls=Command, example=example, at_op=at_op)(
            click.pass_obj(with_json)
        )
        made.params.sort(key=_position)
        for param in made.params:
            if param.type.name in _NUMBERS and isinstance(param, click.Option):
                param.metavar = param.metavar or _NUMBERS[param.type.name]
                param.type = NumberParam(param.type)
        return made

    return wrap


def _position(param: click.Parameter) -> int:
    """Arguments come first in a command's help, ``--json`` last."""
    return 0 if isinstance(param, click.Argument) else 1 + (param.name == "as_json")


def answer_no() -> None:
    """Exit with 1: nothing went wrong, but the answer is no."""
    click.get_current_context().exit(EXIT_NO)


def one_of(**given: Any) -> None:
    """Check that at most one of some options is given.

    Raises:
        UsageError: more are given.
    """
    names = ["--" + name.replace("_", "-") for name, value in given.items() if value]
    if len(names) > 1:
        raise click.UsageError(f"{' and '.join(names)} cannot be used together")
