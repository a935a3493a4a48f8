"""Random generators: of environments and spaces, and the global ones of Python, NumPy, torch."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from gymnasium import Space

from simgit.gym.drivers.plain import decode_generator, encode_generator

_PYTHON: Final[Any] = random.getstate.__self__  # type: ignore[attr-defined]
_NUMPY: Final[Any] = np.random.get_state.__self__  # type: ignore[attr-defined]
"""The global generators themselves."""
_PARTS = ("spaces", "feature_space", "stack", "node_space", "edge_space")


def capture(stack: Sequence[Any]) -> dict[str, Any]:
    """Return the generators of layers and their spaces as plain data, a copy.

    Raises:
        NotPlain: a generator is not one of NumPy's.
    """
    cores = {}
    for i, layer in enumerate(stack):
        generator = vars(layer).get("_np_random")
        if generator is not None:
            cores[str(i)] = [encode_generator(generator), vars(layer).get("_np_random_seed")]
    spaces = {
        name: encode_generator(space._np_random)
        for name, space in all_spaces(stack)
        if space._np_random is not None
    }
    return {"layers": cores, "spaces": spaces}


def apply(stack: Sequence[Any], data: dict[str, Any]) -> None:
    """Put generators back. Where there was no generator there is none: it is made on first use."""
    for i, layer in enumerate(stack):
        body = data["layers"].get(str(i))
        if body is not None:
            _set(layer, "_np_random", body[0])
            layer._np_random_seed = body[1]
        elif "_np_random" in vars(layer):
            layer._np_random = None
    for name, space in all_spaces(stack):
        body = data["spaces"].get(name)
        if body is None:
            space._np_random = None
        else:
            _set(space, "_np_random", body)


def named(stack: Sequence[Any]) -> dict[tuple[Any, ...], Any]:
    """Return the captured generators, by names that are the same in every process.

    References to them in a pickle are stored by these names.
    """
    found: dict[tuple[Any, ...], Any] = {
        ("random", i): vars(layer).get("_np_random") for i, layer in enumerate(stack)
    }
    found |= {("random", name): space._np_random for name, space in all_spaces(stack)}
    found |= {("random", "python"): _PYTHON, ("random", "numpy"): _NUMPY}
    return {name: generator for name, generator in found.items() if generator is not None}


def _set(owner: Any, name: str, body: Any) -> None:
    """Set a generator, in place if it has the same type: others may refer to it."""
    made = decode_generator(body)
    old = vars(owner).get(name)
    if type(old) is np.random.Generator and type(old.bit_generator) is type(made.bit_generator):
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
    torch = sys.modules.get("torch")
    if torch is not None:
        found["torch"] = torch.random.get_rng_state().numpy().copy()
    return found


def apply_globals(data: dict[str, Any]) -> None:
    """Put the state of global generators back; torch's only if it is loaded."""
    version, words, gauss = data["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    np.random.set_state(data["numpy"])
    torch = sys.modules.get("torch")
    if torch is not None and "torch" in data:
        torch.random.set_rng_state(torch.from_numpy(np.array(data["torch"])))
