"""The layers of an environment: wrappers from the outside in, itself, the lanes of a vector.

And which of their attributes are not in a snapshot: those that a new environment has again, and
those that are captured separately. A name alone decides nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from gymnasium import Env, Space, Wrapper
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import EzPickle, RecordConstructorArgs
from gymnasium.vector import SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.wrappers import PassiveEnvChecker

from simgit.gym.drivers.classes import attributes_of, slots_of
from simgit.gym.drivers.describe import ATOMS
from simgit.gym.drivers.generators import own_generator
from simgit.gym.spec.spec import encodable, only_looks_on
from simgit.objects.codec import encode_value

_CONSTRUCTED: Final[dict[str, type]] = {
    "_saved_kwargs": RecordConstructorArgs,
    "_ezpickle_args": EzPickle,
    "_ezpickle_kwargs": EzPickle,
    "env_fns": SyncVectorEnv,
}
"""Attributes in which Gymnasium's classes keep how they were constructed."""
DRAWS: Final = frozenset({
    "screen", "clock", "window", "surf", "isopen", "font", "render_size", "viewer", "renderer",
    "mujoco_renderer", "window_surface", "clicked", "render_state",
})  # fmt: skip
"""Attributes of rendering in the environments of ``_KNOWN``, which were examined."""
_KNOWN: Final = ("gymnasium", "minigrid", "ale_py")
_ABSTRACT: Final = ("gymnasium.core", "gymnasium.vector.vector_env", "gymnasium.utils")
_CHECKED: Final = {
    "checked_reset": True, "checked_step": True, "checked_data_reuse": True, "_previous_data": None,
}  # fmt: skip
"""The environment checker: what it keeps of the results is not state."""
_DRAWING: Final = ("pygame", "glfw", "matplotlib", "OpenGL", "moviepy", "pyglet", "tkinter")


def layers(env: Any) -> list[Any]:
    """Return an environment's wrappers from the outside in, the environment, and its lanes.

    Wrappers that change nothing are left out; see ``simgit.gym.spec.spec.only_looks_on``.
    """
    found: list[Any] = []
    _descend(env, found)
    return found


def _descend(env: Any, found: list[Any]) -> None:
    while True:
        if not (isinstance(env, Wrapper) and only_looks_on(env)) or _is_patched(env):
            found.append(env)
        if is_core(env):
            break
        env = env.env
    for part in lanes_of(env):
        _descend(part, found)


def _is_patched(env: Any) -> bool:
    """Return True if an instance has a ``step`` or ``reset`` that its class does not have."""
    return "step" in vars(env) or "reset" in vars(env)


def is_core(layer: Any) -> bool:
    """Return True if a layer is not a wrapper."""
    return "env" not in vars(layer) or not isinstance(layer.env, (Env, VectorEnv))


def lanes_of(core: Any) -> list[Any]:
    """Return the environments in the attribute ``envs``, none if it is something else."""
    found = vars(core).get("envs")
    if type(found) not in (list, tuple) or not all(isinstance(each, Env) for each in found):
        return []
    return list(found)


class AttributeRules:
    """Tells which attributes of a layer are not in a snapshot, and notes them when first seen.

    What is taken for constructed once must not change afterwards.
    """

    def __init__(self) -> None:
        self._slots: dict[type, dict[str, Any]] = {}
        self._classes: dict[type, type | None] = {}
        self._first: dict[tuple[int, str], Any] = {}
        self._arguments: dict[int, tuple[EnvSpec, dict[str, Any], bytes]] = {}

    def attributes(self, layer: Any) -> dict[str, Any]:
        """Return all attributes of a layer, those in ``__slots__`` too."""
        kind = type(layer)
        slots = self._slots.get(kind)
        if slots is None:
            slots = self._slots[kind] = slots_of(kind)
        return attributes_of(layer, slots)

    def state(
        self, i: int, layer: Any, owned: frozenset[str]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the attributes of the i-th layer that are in a snapshot, and those with spaces."""
        found, spaces = {}, {}
        known = self._known(type(layer))
        drawn = DRAWS if known is type(layer) else frozenset()
        for name, value in self.attributes(layer).items():
            if name in owned or name in drawn:
                continue
            if name in _SPECIAL and self._is_out(i, layer, name, value):
                continue
            if type(value) in ATOMS:
                found[name] = value
            elif isinstance(value, Space):
                spaces[name] = value
            elif known is None or not _only_draws(value):
                found[name] = value
        if isinstance(layer, PassiveEnvChecker):
            found |= _CHECKED
        return found, spaces

    def _known(self, kind: type) -> type | None:
        if kind not in self._classes:
            self._classes[kind] = _drawing_class(kind)
        return self._classes[kind]

    def _is_out(self, i: int, layer: Any, name: str, value: Any) -> bool:
        if name == "env":
            return not is_core(layer)
        if name == "envs":
            return bool(lanes_of(layer))
        if name in ("_np_random", "_np_random_seed"):
            return own_generator(layer) is not None
        if name == "spec":
            return type(value) is EnvSpec  # its arguments are compared
        if name == "_cached_spec":
            is_wrapper = isinstance(layer, (Wrapper, VectorWrapper))
            return is_wrapper and (value is None or type(value) is EnvSpec)
        if name == "render_mode":
            return self._only_shows(i, layer, value)
        if not isinstance(layer, _CONSTRUCTED[name]):
            return False
        held = value if isinstance(value, dict) else dict(enumerate(value))
        return self._is_unchanged(i, name, None, held)

    def _only_shows(self, i: int, layer: Any, mode: Any) -> bool:
        """Return True if a render mode is the one that the environment was made with."""
        if not self._is_unchanged(i, "render_mode", mode, {}):
            return False
        spec = vars(layer).get("spec")
        if type(spec) is EnvSpec:
            return bool(mode == spec.kwargs.get("render_mode"))
        return mode is None or mode in ((layer.metadata or {}).get("render_modes") or ())

    def arguments(self, i: int, layer: Any) -> bytes | None:
        """Return a digest of the arguments in a layer's spec, None without a spec.

        How it is shown is not among them.
        """
        spec = vars(layer).get("spec")
        if type(spec) is not EnvSpec:
            return None
        known = self._arguments.get(i)
        if known is None or known[0] is not spec or not _is_same(known[1], spec.kwargs):
            known = self._arguments[i] = (spec, dict(spec.kwargs), _arguments_digest(spec))
        return known[2]

    def _is_unchanged(self, i: int, name: str, value: Any, parts: Mapping[Any, Any]) -> bool:
        """Return True if a value and its parts are the same as when they were first seen."""
        first = self._first.get((i, name))
        if first is None:
            first = self._first[i, name] = (value, dict(parts))
        same = _is_same(first[1], parts)
        return same and (first[0] is value or first[0] == value)


def _is_same(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> bool:
    try:
        return bool(one == other)
    except ValueError:  # of arrays
        return one.keys() == other.keys() and all(one[key] is other[key] for key in one)


def _arguments_digest(spec: EnvSpec) -> bytes:
    kwargs = {name: value for name, value in spec.kwargs.items() if name != "render_mode"}
    form = encode_value(encodable(kwargs), "arguments")
    return hashlib.blake2b(form, digest_size=12).digest()


_SPECIAL: Final = frozenset((
    "env", "envs", "_np_random", "_np_random_seed", "spec", "_cached_spec", "render_mode",
    *_CONSTRUCTED,
))  # fmt: skip


def _drawing_class(layer: type) -> type | None:
    """Return the class of a known package that a layer is of, or extends, None without one."""
    for kind in layer.__mro__:
        name = kind.__module__
        if name.partition(".")[0] in _KNOWN and not name.startswith(_ABSTRACT):
            return kind
    return None


def _only_draws(value: Any) -> bool:
    """Return True for an object of a package that draws, or a container of nothing else."""
    if type(value) in (dict, list, tuple):
        parts = value.values() if type(value) is dict else value
        return bool(parts) and all(map(is_drawing, parts))
    return is_drawing(value)


def is_drawing(value: Any) -> bool:
    """Return True for an object of a package that draws."""
    return type(value).__module__.partition(".")[0] in _DRAWING


def put_state(layer: Any, state: dict[str, Any], present: dict[str, Any]) -> None:
    """Set the attributes of a layer that are state, and remove those in ``present`` beyond them."""
    slots = slots_of(type(layer))
    held = vars(layer)
    for name in present.keys() - state.keys():
        if name in slots:
            slots[name].__delete__(layer)
        else:
            del held[name]
    for name, value in state.items():
        if name in slots:
            slots[name].__set__(layer, value)
        elif not (value is None and name in DRAWS and is_drawing(held.get(name))):
            held[name] = value


def class_name(layer: Any) -> str:
    """Return the full name of a layer's class."""
    return f"{type(layer).__module__}.{type(layer).__qualname__}"
