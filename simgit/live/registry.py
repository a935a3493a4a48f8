"""The types of simulations: functions of a control, found by a name or by an import path."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simgit.errors import InvalidInput, NotFound, Untrusted, near_or_known, shown, warn
from simgit.live.forms import check_settings, form
from simgit.refs.run_config import merge, nested
from simgit.refs.settings import TYPES

if TYPE_CHECKING:
    from simgit.repository import Repository

BUILT_IN: Final[Mapping[str, str]] = {
    "env": "simgit.live.built_in:environment",
    "command": "simgit.live.built_in:command",
    "demo": "simgit.live.built_in:demo",
    "sb3": "simgit.integrations.sb3.simulation_type:sb3",
    "train": "simgit.training.simulations:train",
}
"""The types that come with simgit, by name."""
GROUP: Final = "simgit.simulations"
"""The group of entry points in which a package registers types."""


@dataclass(frozen=True)
class SimulationType:
    """A type.

    Attributes:
        name: what it was found by: recorded with the run.
        function: called with the control.
        defaults: its settings with their defaults.
        queries: functions of the control and an argument, by name.
        is_fixed: its settings are read when it begins, and cannot be changed while it runs.
        is_local: it starts from Python and the command line only, not over HTTP.
        imports: the settings, as dotted paths, that may name code as ``module:name``; over HTTP
            they may not.
        environments: pairs of settings, the id of an environment and its arguments.
        nullable: the settings, as dotted paths, that may be None though their default is not.
    """

    name: str
    function: Callable[[Any], Any]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    queries: Mapping[str, Callable[[Any, Any], Any]] = field(default_factory=dict)
    is_fixed: bool = False
    is_local: bool = False
    imports: tuple[str, ...] = ()
    environments: tuple[tuple[str, str], ...] = ()
    nullable: tuple[str, ...] = ()

    @property
    def help(self) -> str:
        """The first line of what it says about itself."""
        return (self.function.__doc__ or "").strip().partition("\n")[0]

    @property
    def form(self) -> dict[str, Any]:
        """The JSON Schema of its settings."""
        return form(self.defaults, self.nullable)

    def check(self, settings: Mapping[str, Any]) -> None:
        """Check settings by the form; those that may name code may be of any kind.

        Raises:
            InvalidInput: one is of another kind than its default.
        """
        check_settings(self.defaults, nested(settings), self.imports, self.nullable)


def types(repo: Repository | None = None) -> dict[str, str]:
    """Return the import paths of all registered types by name: only these start over HTTP.

    Those that come with simgit, those of installed packages, then those that a trusted
    repository's settings name.
    """
    found = dict(BUILT_IN)
    for name, path in _packaged().items():
        found.setdefault(name, path)
    if repo is not None and repo.is_trusted():
        for name, value in repo.settings().items():
            if name.startswith(TYPES) and value:
                own = name[len(TYPES) :]
                if own in found:
                    warn(f"setting '{name}' has no effect: there is a type '{own}' already")
                found.setdefault(own, str(value))
    return dict(sorted(found.items()))


@cache
def _packaged() -> dict[str, str]:
    """Return the types of installed packages, which are looked for once in a process."""
    found: dict[str, str] = {}
    for each in entry_points(group=GROUP):
        found.setdefault(each.name, each.value)
    return found


def load(repo: Repository, name: str, folder: str = "") -> SimulationType:
    """Return a type.

    Args:
        repo: the repository.
        name: a registered name, or an import path: ``module:function`` or ``file.py:function``.
        folder: the directory that files and modules are looked for in too.

    Raises:
        NotFound: there is no such type, or it cannot be imported.
        InvalidInput: it is no function, or its defaults or queries are malformed.
        Untrusted: it is not registered, and the repository is not trusted to name code.
    """
    registered = types(repo)
    if ":" not in name and name not in registered:
        near = near_or_known(name, registered)
        raise NotFound(
            f"type '{name}' not found{near}; or give an import path: module:function", name=name
        )
    if ":" in name and not repo.is_trusted():
        raise Untrusted(f"type '{name}' is code that the repository names; see 'simgit trust'")
    function = _imported(registered.get(name, name), folder)
    if not callable(function):
        raise InvalidInput(f"type '{name}' must be a function, got {shown(function)}", name=name)
    settings = getattr(function, "defaults", {})
    queries = getattr(function, "queries", {})
    for what, each in (("defaults", settings), ("queries", queries)):
        if not isinstance(each, Mapping):
            raise InvalidInput(f"{what} of type '{name}' must be a dict, got {shown(each)}")
    return SimulationType(
        name, function, settings, queries, bool(getattr(function, "is_fixed", False)),
        bool(getattr(function, "is_local", False)), tuple(getattr(function, "imports", ())),
        tuple(getattr(function, "environments", ())), tuple(getattr(function, "nullable", ())),
    )  # fmt: skip


def check_remote(repo: Repository, name: str, config: Mapping[str, Any]) -> None:
    """Refuse a simulation that may not be started over HTTP: it would name code, or read files.

    Args:
        repo: the repository.
        name: its type.
        config: all its settings.

    Raises:
        Untrusted: its type is not registered, or is for the command line only; a setting is an
            import path; or its environment needs trust, see ``simgit.gym.spec.permit``.
    """
    if name not in types(repo):
        raise Untrusted(
            f"type '{name}' is not registered: only registered ones start over HTTP; see "
            "'simgit sim types'"
        )
    kind = load(repo, name)
    if kind.is_local:
        raise Untrusted(f"type '{name}' starts from the command line and Python only")
    whole = deepcopy(dict(kind.defaults))
    merge(whole, config)
    for path in kind.imports:
        if names_code(path, _at(whole, path)):
            raise Untrusted(
                f"setting '{path}' is an import path, which may not be given over HTTP", path=path
            )
    for id_path, arguments_path in kind.environments:
        _check_environment(_at(whole, id_path), _at(whole, arguments_path))


def names_code(path: str, value: Any) -> bool:
    """Return whether a setting of a type's ``imports`` is an import path, or might be."""
    if path.rpartition(".")[2] == "policy":
        return value not in ("random", "ask", None)
    return value is not None and (not isinstance(value, str) or ":" in value)


def _check_environment(name: Any, arguments: Any) -> None:
    from simgit.gym.spec.permit import why_unsafe
    from simgit.gym.tools.collect import import_package

    if not name:
        return  # it will be refused
    import_package(str(name))
    given = {key: each for key, each in dict(arguments or {}).items() if key != "id"}
    why = why_unsafe({"environment": {"id": name, "kwargs": given}})
    if why is not None:
        raise Untrusted(f"{why}: it may not be started over HTTP")


def _at(config: Any, path: str) -> Any:
    for key in path.split("."):
        config = config.get(key) if isinstance(config, Mapping) else None
    return config


def type_name(kind: str | Callable[[Any], Any]) -> str:
    """Return the name by which a function can be imported in another process.

    Raises:
        InvalidInput: it cannot: it was made in a function, or at a prompt.
    """
    if isinstance(kind, str):
        return kind
    module, name = getattr(kind, "__module__", None), getattr(kind, "__qualname__", "")
    if module == "__main__":
        path = getattr(sys.modules["__main__"], "__file__", None)
        module = None if path is None else str(Path(path).resolve())
    if not module or not name.replace(".", "_").isidentifier():
        raise InvalidInput(
            f"type {shown(kind)} cannot be imported in another process: define it in a module"
        )
    return f"{module}:{name}"


def _imported(path: str, folder: str) -> Any:
    where, _, name = path.rpartition(":")
    try:
        module = _file(where, folder) if where.endswith(".py") else importlib.import_module(where)
        found: Any = module
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, OSError, AttributeError, ValueError) as error:
        raise NotFound(f"cannot import type '{path}': {error}", name=path) from error
    return found


def _file(path: str, folder: str) -> Any:
    place = (Path(folder) / path).resolve()
    spec = importlib.util.spec_from_file_location(place.stem, place)
    if spec is None or spec.loader is None or not place.is_file():
        raise ImportError(f"there is no file '{place}'")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(place.stem, module)  # what it defines can be pickled
    if str(place.parent) not in sys.path:
        sys.path.append(str(place.parent))
    spec.loader.exec_module(module)
    return module
