"""The spec of an environment as canonical data in a run's root state, and back.

It holds what determines the states: the environment, its arguments, its wrappers and spaces.
Observers are left out (the recorder, videos, a window): with or without them, a run's states have
the same oids.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Final

import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import EzPickle, RecordConstructorArgs

from simgit.errors import InvalidInput, NotFound, SimgitError
from simgit.gym.spec import spaces
from simgit.gym.spec.entry_points import PACKAGES, RECORDED_AS, entry_text, public_path
from simgit.gym.spec.permit import Permit, check, check_form, time_limit
from simgit.objects.codec import encode_value
from simgit.objects.coerce import coerce

Data = dict[str, Any]
OBSERVERS: Final = frozenset(
    {
        "gymnasium.wrappers.rendering:RecordVideo",
        "gymnasium.wrappers.rendering:HumanRendering",
        "gymnasium.wrappers.rendering:RenderCollection",
        "simgit.gym.recording.sub_env:Lane",
    }
)
"""Wrappers that do not change what an environment returns."""
_MADE: Final = tuple(
    f"gymnasium.wrappers.common:{name}"
    for name in ("PassiveEnvChecker", "OrderEnforcing", "TimeLimit")
)
"""Wrappers that ``gymnasium.make`` adds because the environment's own spec says so, in order."""
_FLAGS: Final = {"max_episode_steps": None, "order_enforce": True, "disable_env_checker": False}
"""Fields of an EnvSpec that are described where they differ from the default."""


def describe(env: gymnasium.Env[Any, Any]) -> Data:
    """Return the spec of an environment as canonical data; the environment is not touched.

    An argument without an encoding (a function, say) is described by its text under ``opaque``;
    where the arguments are not known at all, ``kwargs`` is None. ``make`` refuses both.
    """
    *wrappers, base = layers(env)
    wrappers = wrappers[::-1]
    if base.spec is not None:
        base, wrappers = _made(base, wrappers)
    if base.spec is not None:
        made = registered(base.spec)
    else:  # not made by gymnasium.make
        entry = public_path(class_path(base))
        made = {"id": None, "entry_point": entry, **_known_arguments(base)}
    return {
        "environment": made,
        "wrappers": [_wrapper(each) for each in wrappers],
        **describe_spaces(env),
    }


def make(
    data: Mapping[str, Any], permit: Permit | bool = False, /, **changes: Any
) -> gymnasium.Env[Any, Any]:
    """Make a new environment from the data of ``describe``.

    Args:
        data: the description.
        permit: the permission to import what is not registered and to construct what has other
            than plain arguments; see ``simgit.gym.spec.permit``.
        changes: arguments of the environment to replace, such as ``render_mode``.

    Raises:
        NotFound: the environment, or a wrapper, is not installed.
        InvalidInput: some of its arguments are unknown, its spaces have changed, or its code ends
            the program.
        Untrusted: making it would run code of whoever recorded it.
    """
    check_form(data)
    described = data["environment"]
    name = described.get("id") or described["entry_point"]
    if "lane" in described or "vector_wrappers" in data:
        raise InvalidInput(
            f"cannot make one lane of '{name}': its vector environment has no single environments",
            name=name,
        )
    kwargs = {**_arguments(described, name), **changes}
    is_trusted = check(data, permit)
    try:
        with nullcontext() if is_trusted else time_limit(f"environment '{name}'"):
            env = _base(described, kwargs)
            for each in data.get("wrappers", ()):
                wrap = _constructor(each["entry_point"], gymnasium.Wrapper)
                env = wrap(env, **_arguments(each, each.get("name") or each["entry_point"]))
    except SystemExit as error:
        raise InvalidInput(
            f"cannot make environment '{name}': its code ends the program", name=name
        ) from error
    except (ImportError, AttributeError, gymnasium.error.Error) as error:
        raise NotFound(f"cannot make environment '{name}': {error}", name=name) from error
    except Exception as error:
        if is_trusted or isinstance(error, SimgitError):
            raise
        raise InvalidInput(  # a stranger's arguments
            f"cannot make environment '{name}' as it was recorded: {error}", name=name
        ) from error
    compare_spaces(describe_spaces(env), data)
    return env


def is_live(data: Mapping[str, Any]) -> bool:
    """Return True if a spec is of an environment on a live cluster, which is not re-executed."""
    described = data["environment"]
    kwargs = described.get("kwargs")
    of_cluster = described.get("id") == "simgit/SimKube-v0" and isinstance(kwargs, Mapping)
    return of_cluster and kwargs.get("cluster") is not None


def describe_spaces(env: Any) -> Data:
    """Return the observation space and the action space of an environment as canonical data."""
    return {
        "observation_space": spaces.encode(env.observation_space),
        "action_space": spaces.encode(env.action_space),
    }


def compare_spaces(found: Mapping[str, Any], recorded: Mapping[str, Any]) -> None:
    """Check that an environment has the recorded spaces.

    Raises:
        InvalidInput: a space differs.
    """
    for name in ("observation_space", "action_space"):
        if encode_value(found[name]) != encode_value(recorded[name]):
            raise InvalidInput(
                f"the {name.replace('_', ' ')} is {spaces.shown(found[name])}, "
                f"but {spaces.shown(recorded[name])} in what was recorded",
                path=name,
            )


def layers(env: Any) -> list[Any]:
    """Return the wrappers that change something, outermost first, and last the environment.

    Observers, and wrappers that only join others, are left out.
    """
    found = []
    while isinstance(env, gymnasium.Wrapper):
        if not only_looks_on(env):
            found.append(env)
        env = env.env
    return [*found, env]


# --- describing --------------------------------------------------------------------------------


def only_looks_on(layer: Any) -> bool:
    """Return True for a wrapper that changes nothing: an observer, or one that only joins others.

    An observer's class says so by ``is_observer``, or is one of Gymnasium's.
    """
    kind = type(layer)
    if _observes(kind):
        return True
    changes = kind.step is not gymnasium.Wrapper.step or kind.reset is not gymnasium.Wrapper.reset
    has_space = layer._observation_space is not None or layer._action_space is not None
    return not (changes or has_space)


def left_out(env: Any) -> list[str]:
    """Return the classes of wrappers that a spec lacks although making them may change something.

    They have a constructor of their own, but no ``step``, ``reset`` or spaces.
    """
    found = []
    while isinstance(env, gymnasium.Wrapper):
        kind = type(env)
        makes = kind.__init__ is not gymnasium.Wrapper.__init__
        if makes and only_looks_on(env) and not _observes(kind):
            found.append(class_path(env))
        env = env.env
    return found


def _observes(kind: type) -> bool:
    return getattr(kind, "is_observer", False) or _class_name(kind) in OBSERVERS


def _made(base: Any, wrappers: list[Any]) -> tuple[Any, list[Any]]:
    """Return the environment as ``gymnasium.make`` makes it, and the wrappers on top of that."""
    # what an entry point puts around its environment lies below what gymnasium.make adds
    is_factory = entry_text(base.spec.entry_point) not in (
        class_path(base),
        public_path(class_path(base)),
    )
    within = next((i for i, each in enumerate(wrappers) if class_path(each) in _MADE), 0)
    within = within if is_factory else 0
    base = wrappers[within - 1] if within else base
    rest, missing = list(wrappers[within:]), list(_MADE)
    while rest and class_path(rest[0]) in missing:
        base = rest.pop(0)
        missing = missing[missing.index(class_path(base)) + 1 :]
    return base, rest


def class_path(layer: Any) -> str:
    """Return the class of a layer as "module:name"."""
    return _class_name(type(layer))


def _class_name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def registered(spec: EnvSpec) -> Data:
    """Describe an environment that is known by its id."""
    entry = entry_text(spec.entry_point)
    kwargs = dict(spec.kwargs)
    if kwargs.get("render_mode") in (None, "human"):  # which only shows
        kwargs.pop("render_mode", None)
    flags = {name: getattr(spec, name) for name in _FLAGS}
    known = (entry or "").partition(".")[0] in PACKAGES
    return {
        "id": spec.id,
        **({} if known or entry is None else {"entry_point": entry}),
        **encodable(kwargs),
        **{name: value for name, value in flags.items() if value != _FLAGS[name]},
    }


def _wrapper(layer: Any) -> Data:
    entry = public_path(class_path(layer))
    return {"name": type(layer).__name__, "entry_point": entry, **_known_arguments(layer)}


def _known_arguments(thing: Any) -> Data:
    """Return the arguments that a layer was constructed with, as far as they are known."""
    if isinstance(thing, RecordConstructorArgs) and hasattr(thing, "_saved_kwargs"):
        return encodable({k: v for k, v in thing._saved_kwargs.items() if k != "env"})
    if isinstance(thing, EzPickle):
        names = _parameters(type(thing))
        given = dict(zip(names, thing._ezpickle_args, strict=False)) | thing._ezpickle_kwargs
        return encodable(given)
    return _inferred(thing)


def _inferred(thing: Any) -> Data:
    """Guess arguments from attributes of the same names; ``kwargs`` is None if one is missing."""
    found = {}
    for name, parameter in _parameters(type(thing)).items():
        if name in vars(thing) or f"_{name}" in vars(thing):
            found[name] = vars(thing).get(name, vars(thing).get(f"_{name}"))
        elif parameter.default is parameter.empty:
            return {"kwargs": None}
    return {**encodable(found), **({"inferred": True} if found else {})}


def _parameters(kind: type) -> dict[str, inspect.Parameter]:
    """Return the parameters of a constructor, without self and the wrapped environment."""
    try:
        found = dict(inspect.signature(kind).parameters)
    except (TypeError, ValueError):
        return {}
    if issubclass(kind, gymnasium.Wrapper):
        found.pop(next(iter(found), ""), None)
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {name: each for name, each in found.items() if each.kind not in several}


def encodable(kwargs: Mapping[str, Any]) -> Data:
    """Return arguments as canonical data; those without an encoding separately, as text."""
    plain, opaque = {}, {}
    for name, value in kwargs.items():
        try:
            plain[name] = coerce(value, name)
        except InvalidInput:
            opaque[name] = f"{type(value).__module__}.{type(value).__qualname__}"
    return {"kwargs": plain, **({"opaque": opaque} if opaque else {})}


# --- making ------------------------------------------------------------------------------------


def _arguments(described: Mapping[str, Any], name: str) -> dict[str, Any]:
    if described.get("kwargs") is None:
        raise InvalidInput(
            f"the arguments of '{name}' were not recorded: pass an environment with env=", name=name
        )
    if opaque := described.get("opaque"):
        listed = ", ".join(f"'{each}'" for each in sorted(opaque))
        raise InvalidInput(
            f"'{name}' was made with {listed}, which could not be recorded: "
            "pass an environment with env=",
            name=name,
        )
    return dict(described["kwargs"])


def _base(described: Mapping[str, Any], kwargs: dict[str, Any]) -> gymnasium.Env[Any, Any]:
    name, entry = described.get("id"), described.get("entry_point")
    if name is None:
        assert entry is not None
        env: gymnasium.Env[Any, Any] = _constructor(entry, gymnasium.Env)(**kwargs)
        return env
    flags = {flag: described.get(flag, usual) for flag, usual in _FLAGS.items()}
    if entry is None or "<" in entry or entry.startswith("__main__:"):
        entry = gymnasium.spec(name).entry_point
    elif not _is_registered(name, entry):
        _importable(entry)
        if not _is_registered(name, entry):  # a module may register a function of its own
            _constructor(entry, gymnasium.Env)
    return gymnasium.make(EnvSpec(name, entry_point=entry, kwargs=kwargs, **flags))


def _is_registered(name: str, entry: str) -> bool:
    """Return True if an installed package registered this environment with this entry point."""
    known = gymnasium.registry.get(name)
    return known is not None and entry_text(known.entry_point) == entry


def _constructor(entry: str, kind: type) -> Any:
    """Return the class that a spec names; refuse anything else.

    A repository may come from anybody: its specs must not make this process call anything but an
    environment, or construct an observer, which writes files where its arguments say.

    Raises:
        InvalidInput: it is not an environment or wrapper.
    """
    found = _importable(entry)
    if isinstance(found, type) and issubclass(found, kind) and not _observes(found):
        return found
    raise InvalidInput(f"'{entry}' is not {_KINDS[kind]}: refusing to call it", name=entry)


_KINDS: Final = {
    gymnasium.Env: "an environment",
    gymnasium.Wrapper: "a wrapper that changes an environment",
}


def _importable(entry: str) -> Any:
    entry = next((now for now, then in RECORDED_AS.items() if then == entry), entry)
    module, _, name = entry.partition(":")
    if "__main__" in module.split(".") or "<locals>" in name:
        raise InvalidInput(
            f"environment '{entry}' cannot be made outside its script: "
            "pass an environment with env=",
            name=entry,
        )
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found
