"""The attributes of all layers in one pickle, for those without a plain form.

Layers, their spaces, specs and random generators are in it by name ("persistent ids"), so that
references to them lead to those of the environment that loads it.
Loading runs code of whoever made the pickle: it must be trusted.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import Env, Space
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import EzPickle

from simgit.errors import IntegrityError
from simgit.gym.drivers import randomness
from simgit.gym.drivers.base import CannotSnapshot

Table = dict[int, tuple[Any, ...]]


def dump(states: Any, stack: Sequence[Any]) -> bytes:
    """Return the attributes of all layers as bytes.

    Raises:
        CannotSnapshot: a part cannot be pickled, or its pickle would lose its state.
    """
    file = io.BytesIO()
    try:
        _Pickler(file, stack).dump(states)
    except CannotSnapshot:
        raise
    except Exception as error:  # __reduce__ of a foreign class raises anything
        text = str(error)
        known = text.startswith("cannot pickle")
        raise CannotSnapshot(text if known else f"cannot be pickled: {text}") from error
    return file.getvalue()


def load(data: bytes, stack: Sequence[Any]) -> Any:
    """Return the attributes of all layers, with references into ``stack``. Runs the pickle's code.

    Raises:
        IntegrityError: it cannot be loaded.
    """
    try:
        return _Unpickler(io.BytesIO(data), stack).load()
    except IntegrityError:
        raise
    except Exception as error:
        raise IntegrityError(f"cannot load the pickle of a snapshot: {error}") from error


def _names(stack: Sequence[Any]) -> dict[tuple[Any, ...], Any]:
    """Return the named objects; the names are the same for environments made in one way."""
    found: dict[tuple[Any, ...], Any] = {}
    for i, layer in enumerate(stack):
        found["layer", i] = layer
        for name, value in vars(layer).items():
            if isinstance(value, (Space, EnvSpec)):
                found["constant", i, name] = value
    for name, generator in randomness.named(stack).items():
        found[name] = generator
        if isinstance(generator, np.random.Generator):
            found["bits", *name[1:]] = generator.bit_generator
    return found


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, stack: Sequence[Any]) -> None:
        super().__init__(file, protocol=5)
        self._table: Table = {}
        for name, value in _names(stack).items():
            self._table.setdefault(id(value), name)

    def persistent_id(self, obj: Any) -> Any:
        """Return the name of a named object.

        Raises:
            CannotSnapshot: the object's pickle would not hold its state.
        """
        name = self._table.get(id(obj))
        if name is None and isinstance(obj, (Env, EzPickle)):
            kind = type(obj).__name__
            raise CannotSnapshot(f"holds a '{kind}', whose pickle would lose its state")
        return name


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, stack: Sequence[Any]) -> None:
        super().__init__(file)
        self._named = _names(stack)

    def persistent_load(self, pid: Any) -> Any:
        """Return the object with a name.

        Raises:
            IntegrityError: the environment has no object of this name.
        """
        if pid not in self._named:
            raise IntegrityError(
                f"a snapshot refers to '{pid}', which the environment does not have"
            )
        return self._named[pid]
