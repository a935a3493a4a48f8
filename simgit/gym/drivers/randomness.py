"""Random generators: of environments and spaces, and the global ones of Python, NumPy, torch."""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

import numpy as np
from gymnasium import Space

from simgit.gym.drivers.classes import is_trusted
from simgit.gym.drivers.generators import (
    decode_generator,
    encode_generator,
    own_generator,
    seeding_of,
)

PYTHON: Final[Any] = random.getstate.__self__  # type: ignore[attr-defined]
NUMPY: Final[Any] = np.random.get_state.__self__  # type: ignore[attr-defined]
"""The global generators themselves."""
_missed: bool | None = None
"""None to load torch where it is needed; else True if it was needed, and not loaded."""
_PARTS = ("spaces", "feature_space", "stack", "node_space", "edge_space")


Spaces = Iterable[tuple[str, Any]]
"""Spaces with their names; see ``all_spaces``."""


def capture(stack: Sequence[Any], spaces: Spaces | None = None) -> dict[str, Any]:
    """Return the generators of layers and their spaces as plain data, a copy.

    Raises:
        NotPlain: a generator is not one of NumPy's.
    """
    return {
        "layers": capture_layers(stack),
        "spaces": capture_spaces(spaces or all_spaces(stack)),
    }


def capture_layers(stack: Sequence[Any]) -> dict[str, Any]:
    """Return the generators of layers as plain data, a copy.

    Raises:
        NotPlain: a generator is not one of NumPy's.
    """
    return {
        str(i): [encode_generator(generator), vars(layer).get("_np_random_seed")]
        for i, layer in enumerate(stack)
        if (generator := own_generator(layer)) is not None
    }


def capture_spaces(spaces: Spaces) -> dict[str, Any]:
    """Return the generators of spaces as plain data, a copy.

    Raises:
        NotPlain: a generator is not one of NumPy's.
    """
    return {
        name: encode_generator(space._np_random)
        for name, space in spaces
        if space._np_random is not None
    }


def apply(stack: Sequence[Any], data: dict[str, Any]) -> None:
    """Put generators back. Where there was no generator there is none: it is made on first use."""
    apply_layers(stack, data["layers"])
    apply_spaces(stack, data["spaces"])


def apply_layers(stack: Sequence[Any], data: Mapping[str, Any]) -> None:
    """Put the generators of layers back."""
    for i, layer in enumerate(stack):
        body = data.get(str(i))
        if body is not None:
            _set(layer, "_np_random", body[0])
            layer._np_random_seed = body[1]
        elif own_generator(layer) is not None:
            layer._np_random = None


def apply_spaces(stack: Sequence[Any], data: Mapping[str, Any]) -> None:
    """Put the generators of spaces back; those that are not in the data are removed."""
    for name, space in all_spaces(stack):
        body = data.get(name)
        if body is None:
            space._np_random = None
        else:
            _set(space, "_np_random", body)


def named(stack: Sequence[Any], spaces: Spaces | None = None) -> dict[tuple[Any, ...], Any]:
    """Return the captured generators, by names that are the same in every process.

    References to them in a pickle are stored by these names.
    """
    found: dict[tuple[Any, ...], Any] = {
        ("random", i): own_generator(layer) for i, layer in enumerate(stack)
    }
    found |= {("random", name): space._np_random for name, space in spaces or all_spaces(stack)}
    found |= {("random", "python"): PYTHON, ("random", "numpy"): NUMPY}
    return {name: generator for name, generator in found.items() if generator is not None}


def _set(owner: Any, name: str, body: Any) -> None:
    """Set a generator, in place if it is of the same kind and seed: others may refer to it."""
    made = decode_generator(body)
    old = vars(owner).get(name)
    if (
        type(old) is np.random.Generator
        and type(old.bit_generator) is type(made.bit_generator)
        and (len(body) < 3 or seeding_of(old) == body[2])
    ):
        old.bit_generator.state = made.bit_generator.state
    else:
        setattr(owner, name, made)


def all_spaces(stack: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the spaces of all layers and their subspaces, each once, with a name."""
    seen: set[int] = set()
    for i, layer in enumerate(stack):
        for name, value in vars(layer).items():
            if isinstance(value, Space):
                yield from _inside(f"{i}.{name}", value, seen)
        for name, value in _of_class(type(layer)).items():
            if name not in vars(layer):
                yield from _inside(f"{i}.{name}", value, seen)


def _of_class(kind: type) -> dict[str, Any]:
    """Return the spaces that are attributes of a class: all its environments share them."""
    found: dict[str, Any] = {}
    for each in _open_classes(kind):
        for name, value in vars(each).items():
            if isinstance(value, Space):
                found.setdefault(name, value)
    return found


@cache
def _open_classes(kind: type) -> tuple[type, ...]:
    """Return the class and its bases that may have spaces, in the order of lookup."""
    return tuple(
        each
        for each in kind.__mro__
        if not is_trusted(each) or any(isinstance(value, Space) for value in vars(each).values())
    )


def _inside(name: str, space: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if id(space) in seen:
        return
    seen.add(id(space))
    yield name, space
    for attribute in _PARTS:
        part = vars(space).get(attribute)
        if isinstance(part, dict):
            parts = list(part.items())
        else:
            parts = list(enumerate(part)) if isinstance(part, (tuple, list)) else [("", part)]
        for key, inner in parts:
            if isinstance(inner, Space):
                yield from _inside(f"{name}.{attribute}.{key}", inner, seen)


def reseed(env: Any, seed: int | None) -> None:
    """Reseed all generators of an environment, with seeds derived from one."""
    from simgit.gym.drivers.wrappers import layers

    stack = layers(env)
    children = iter(np.random.SeedSequence(seed).generate_state(10_000).tolist())
    for layer in stack:
        if vars(layer).get("_np_random") is not None:
            layer._np_random = np.random.Generator(np.random.PCG64(next(children)))
            layer._np_random_seed = -1  # Gymnasium's mark of a generator without a known seed
    for _, space in all_spaces(stack):
        if space._np_random is not None:
            space._np_random = np.random.Generator(np.random.PCG64(next(children)))


def derived(seed: int | None, i: int) -> int:
    """Return a seed of 31 bits for the i-th engine."""
    return int(np.random.SeedSequence(seed, spawn_key=(i,)).generate_state(1)[0]) >> 1


# --- global ones ---------------------------------------------------------------------------------


def capture_globals() -> dict[str, Any]:
    """Return the state of Python's and NumPy's global generators, of torch's if it is loaded."""
    version, words, gauss = random.getstate()
    found: dict[str, Any] = {
        "python": [version, np.array(words, np.uint32), gauss],
        "numpy": np.random.get_state(legacy=False),
    }
    torch = _loaded_torch()
    if torch is not None:
        found["torch"] = torch.random.get_rng_state().numpy().copy()
        if torch.cuda.is_initialized():
            found["cuda"] = [state.numpy().copy() for state in torch.cuda.get_rng_state_all()]
    return found


def apply_globals(data: Mapping[str, Any]) -> None:
    """Put the state of global generators back.

    Torch is loaded if it was: an environment that loads it later continues with its generators.
    """
    torch = _load_torch() if "torch" in data else None  # first: loading it may draw numbers
    version, words, gauss = data["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    np.random.set_state(data["numpy"])
    if torch is not None:
        torch.random.set_rng_state(torch.from_numpy(np.array(data["torch"])))
        if "cuda" in data and torch.cuda.is_available():
            for i, state in enumerate(data["cuda"][: torch.cuda.device_count()]):
                torch.cuda.set_rng_state(torch.from_numpy(np.array(state)), i)


def seed_globals(seed: int | None) -> None:
    """Seed the global generators of Python and NumPy, and torch's if it is loaded.

    Args:
        seed: 0 or more; None for a fresh one.
    """
    children = np.random.SeedSequence(seed).generate_state(3).tolist()
    random.seed(children[0])
    np.random.seed(children[1])
    torch = _loaded_torch()
    if torch is not None:
        torch.manual_seed(children[2])


def torch_seed() -> int | None:
    """Return the seed that torch has in this process, None if it is not loaded.

    Each process draws one when it loads torch.
    """
    torch = _loaded_torch()
    return None if torch is None else int(torch.initial_seed())


def leave_torch(is_missed: bool) -> None:
    """Do not load torch from now on where only its generators are to be put back.

    For a process that finds out whether an environment draws from them: loading it takes seconds.
    ``is_missed`` is True if torch should be loaded already.
    """
    global _missed
    _missed = is_missed


def misses_torch() -> bool:
    """Return True if torch was left where it should have been loaded."""
    return bool(_missed)


def load_torch() -> None:
    """Load torch, and do so again wherever its generators are to be put back."""
    global _missed
    _missed = None
    _load_torch()


def seed_torch(seed: int) -> None:
    """Load torch as a process with that seed loads it; other global generators are kept."""
    before = capture_globals()
    torch = _load_torch()
    apply_globals(before)
    if torch is not None:
        torch.manual_seed(seed)


def _loaded_torch() -> Any:
    """Return torch, None if it is not loaded, or only in part."""
    torch = sys.modules.get("torch")
    return torch if hasattr(torch, "random") and hasattr(torch, "cuda") else None


def _load_torch() -> Any:
    """Return torch, None if it is not installed: nothing can draw from it then."""
    global _missed
    if _missed is not None and "torch" not in sys.modules:
        _missed = True
        return None
    try:
        return importlib.import_module("torch")
    except ImportError:
        return None


# --- at the start of a session -------------------------------------------------------------------


def capture_start(stack: Sequence[Any]) -> dict[str, Any]:
    """Return what the first reset of an environment may draw from besides its own generator.

    Raises:
        NotPlain: a generator is not one of NumPy's.
    """
    return {"spaces": capture_spaces(all_spaces(stack)), "globals": capture_globals()}


def complete_start(stack: Sequence[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``capture_start`` noted, with the generators that the first reset has made.

    (As they were new: a space that was never seeded makes one when it is first used.)
    """
    made = {
        name: encode_generator(np.random.Generator(type(bits)(bits.seed_seq)))
        for name, space in all_spaces(stack)
        if space._np_random is not None and name not in data["spaces"]
        for bits in [space._np_random.bit_generator]
    }
    return {**data, "spaces": {**data["spaces"], **made}}


def apply_start(stack: Sequence[Any], data: Mapping[str, Any]) -> None:
    """Put that back into a new environment, before its first reset."""
    apply_spaces(stack, data["spaces"])
    apply_globals(data["globals"])
