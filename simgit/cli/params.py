"""Parameters of commands: values, settings, durations, and names that complete."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from simgit.cli.app import Advice, App
from simgit.cli.git_words import about_value
from simgit.errors import InvalidInput, NotFound, SimgitWarning, did_you_mean, shown, visible

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from simgit.refs.runs import RunInfo
    from simgit.repository import Repository


_TOO_MUCH: Final = "is nested too deep, or has an integer of more than 4300 digits"


class ValueParam(click.ParamType):  # type: ignore[type-arg]
    """A value as JSON, or as ``@file.npy``, ``@file.npz``, ``@file.json``."""

    name = "value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the Python value; a list of numbers is an array where ``param`` wants one."""
        if not isinstance(value, str):
            return value
        app = ctx.obj if ctx is not None and isinstance(ctx.obj, App) else App(Path())
        found = (
            load(app.path(value[1:])) if value.startswith("@") else self._json(value, param, ctx)
        )
        if param is not None and param.name in ("observation", "action"):
            from simgit.recording.stream import arrays_of

            return arrays_of(found)
        return found

    def _json(self, text: str, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from json import JSONDecodeError

        from simgit.objects.json_form import parse_json

        name = param.name if param is not None else None
        if re.match(r"--?[A-Za-z]", text):
            habit = about_value(ctx.info_name if ctx else None, name)
            raise Advice(f"--{name} needs a value, but option '{text}' follows{habit}", ctx)
        try:
            return parse_json(text)
        except InvalidInput as error:
            self.fail(str(error), param, ctx)
        except JSONDecodeError as error:
            if name == "reward":
                self.fail(f"'{text}' must be a number", param, ctx)
            why = f"{error.msg[:1].lower()}{error.msg[1:]} at column {error.colno}"
            self.fail(f"'{text}' is not JSON ({why}); quote a string as '\"text\"'", param, ctx)
        except (ValueError, RecursionError):
            self.fail(_TOO_MUCH, param, ctx)


def load(path: Path) -> Any:
    """Return the value of a file of NumPy or JSON.

    Raises:
        NotFound: there is no such file.
        InvalidInput: its content does not match its suffix.
    """
    from simgit.objects.json_form import parse_json

    try:
        data = path.read_bytes()
    except OSError as error:
        raise NotFound(f"cannot read '{path}': {(error.strerror or '').lower()}") from None
    try:
        if path.suffix in (".npy", ".npz"):
            return _numpy(path)
        return parse_json(data)
    except (ValueError, EOFError, OSError, RecursionError) as error:
        kind = "NumPy data" if path.suffix in (".npy", ".npz") else "JSON"
        raise InvalidInput(f"'{path}' is not {kind}: {error}") from None


def _numpy(path: Path) -> Any:
    import numpy as np

    loaded = np.load(path, allow_pickle=False)
    return dict(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else loaded


def settings(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Return ``key=value`` pairs as a dict; a value that is not JSON is a string.

    Raises:
        UsageError: there is no ``=`` in one.
    """
    from json import JSONDecodeError

    from simgit.objects.json_form import parse_json

    found = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise click.UsageError(f"'{pair}' must be of the form KEY=VALUE")
        try:
            found[key] = parse_json(text)
        except JSONDecodeError:
            found[key] = text
        except InvalidInput:
            raise
        except (ValueError, RecursionError):
            raise click.UsageError(f"the value of {shown(key)} {_TOO_MUCH}") from None
    return found


class Map(ValueParam):
    """A value that is a map."""

    name = "object"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the dict."""
        found = super().convert(value, param, ctx)
        if found is not None and not isinstance(found, dict):
            self.fail(f"'{value}' is not a JSON object", param, ctx)
        return found


def subject(app: App, repo: Repository, text: str) -> str:
    """Return what names an agent: a file's path relative to ``-C``, all else as it is."""
    path = app.path(text)
    return str(path) if text not in repo.runs and path.is_file() else text


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Return whether a name matches one of the patterns, such as ``try-*``, if there are any."""
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


def free_name(repo: Repository, stem: str) -> str:
    """Return the stem with the first number that no run has."""
    taken = set(repo.runs)
    return next(name for n in range(1, len(taken) + 2) if (name := f"{stem}-{n}") not in taken)


def note_new_run(repo: Repository, name: str | None) -> None:
    """Warn of a new run whose name could be a slip of the pen for that of another one."""
    if name is None or name in repo.runs:
        return
    letters = re.sub(r"\d", "", name)
    others = [
        each for each in islice(repo.runs, 1000)
        if re.sub(r"\d", "", each) != letters
        and not each.startswith(name) and not name.startswith(each) and not each.endswith(name)
    ]  # fmt: skip
    if near := did_you_mean(name, others):
        warnings.warn(f"'{name}' is a new run{near}", SimgitWarning, stacklevel=2)


def branch_settings(repo: Repository, start: str, pairs: tuple[str, ...]) -> dict[str, Any]:
    """Return what ``--set`` gives to a run that begins at a revision."""
    run = repo.state(start).run if pairs else None
    if run is not None:
        return qualified(settings(pairs), repo.config(run))
    there = tracked_run(repo, start) if pairs else None
    return settings(pairs) if there is None else qualified(settings(pairs), there.config)


def tracked_run(repo: Repository, revision: str) -> RunInfo | None:
    """Return the run of a remote that a revision begins with, None if it names another state."""
    from simgit.refs.revision import split_revision

    name = split_revision(revision)[0].removeprefix("remotes/")
    return repo.remote_runs().get(name) if "/" in name and name not in repo.runs else None


def qualified(given: dict[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings for a configuration; in that of a training ``lr`` means ``agent.lr``.

    Raises:
        InvalidInput: one is of a training's environment or of its beginning, which are recorded.
    """
    if "training" not in config:
        return given
    for key in given:
        if _is_fixed(key, config):
            is_sb3 = str((config.get("agent") or {}).get("name")).startswith("sb3:")
            way = "'simgit train'" if is_sb3 else f"'simgit train --load RUN {_option(key)}'"
            raise InvalidInput(
                f"cannot set '{key}': a run keeps its environment and the agent it began with; "
                f"{way} begins another" + ("" if is_sb3 else " with its agent"),
                path=key,
            )
    found = {}
    for key, value in given.items():
        sections = [name for name in ("agent", "training") if key in (config.get(name) or {})]
        known = key in config or key == "name" or not sections
        found[key if known else f"{sections[0]}.{key}"] = value
    return found


def _is_fixed(key: str, config: Mapping[str, Any]) -> bool:
    """Return True for a setting of a training's environment, or of the agent it began with."""
    names = key.split(".")
    if names[0] == "environment" or names[:2] == ["training", "load"]:
        return True
    own = any(key in (config.get(section) or {}) for section in ("agent", "training"))
    return key == "load" or (not own and key in (config.get("environment") or {}))


def _option(key: str) -> str:
    """Return the option of ``simgit train`` that gives an environment another value."""
    from simgit.cli.option_table import OPTIONS

    name = key.removeprefix("environment.").partition(".")[0]
    if name in ("trace", "environment", "id", "training", "load"):
        return "--trace FILE"
    option = f"--{name.replace('_', '-')}"
    return f"{option} …" if option in OPTIONS["train"] else f"--env-set {name}=…"


class _Names(click.ParamType):  # type: ignore[type-arg]
    """A text that completes to names of the repository."""

    def __init__(self, name: str, runs: bool, tags: bool) -> None:
        self.name = name
        self.runs = runs
        self.tags = tags

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names that begin with the typed text; none after any error."""
        from click.shell_completion import CompletionItem

        head, dots, tail = incomplete.rpartition("..")
        try:
            names = self._all(ctx)
        except Exception:
            return []
        return [
            CompletionItem(head + dots + name)
            for name in names
            if name.startswith(tail) and visible(name) == name
        ]

    def _all(self, ctx: click.Context) -> list[str]:
        root = ctx.find_root().params.get("directories") or ()
        with App(Path(*root)).repository() as repo:
            names = list(repo.runs) if self.runs else []
            if not self.tags:
                return names
            more = ["HEAD", *repo.remote_runs()] if self.runs else []
            return [*names, *repo.tags(), *more]


class _Remotes(_Names):
    """A text that completes to the names of remotes."""

    def __init__(self) -> None:
        super().__init__("remote", runs=False, tags=False)

    def _all(self, ctx: click.Context) -> list[str]:
        root = ctx.find_root().params.get("directories") or ()
        with App(Path(*root)).repository() as repo:
            return list(repo.remotes())


class Choice(click.Choice):  # type: ignore[type-arg]
    """One of some values; the error for another one names the nearest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            near = did_you_mean(str(value), map(str, self.choices))
            self.fail(error.message.rstrip(".") + near, param, ctx)


class Duration(click.ParamType):  # type: ignore[type-arg]
    """A duration as days: ``14d``, ``12h``, ``30m``, ``2w``, ``now`` or a number of days."""

    name = "duration"
    _units: Final = {"w": 7.0, "d": 1.0, "h": 1 / 24, "m": 1 / 1440}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number of days."""
        if not isinstance(value, str):
            return value
        text, unit = (value[:-1], value[-1]) if value[-1:] in self._units else (value, "d")
        try:
            days = 0.0 if value == "now" else float(text) * self._units[unit]
        except ValueError:
            days = -1.0
        if not 0 <= days < 1e6:
            self.fail(f"'{value}' is not a duration such as 14d, 12h, 30m, 2w or now", param, ctx)
        return days


class Fraction(click.ParamType):  # type: ignore[type-arg]
    """A part of a whole, ``2/7``."""

    name = "k/n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return its number, and how many there are."""
        if not isinstance(value, str):
            return value
        number, slash, parts = value.partition("/")
        if not (slash and number.isdecimal() and parts.isdecimal()):
            self.fail(f"'{value}' is not a fraction such as 1/7", param, ctx)
        return int(number), int(parts)


RUN = _Names("run", runs=True, tags=False)
TAG = _Names("tag", runs=False, tags=True)
REVISION = _Names("revision", runs=True, tags=True)
REMOTE = _Remotes()
VALUE = ValueParam()
MAPPING = Map()
DURATION = Duration()
SAMPLE = Fraction()
