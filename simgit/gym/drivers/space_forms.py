"""The spaces of all layers in a snapshot: one that has changed since it was made comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import Space

from simgit.gym.drivers.classes import slots_of
from simgit.gym.drivers.describe import Named, Opaque, describe
from simgit.gym.drivers.limits import CannotRestore, CannotSnapshot
from simgit.gym.spec import spaces
from simgit.objects.codec import encode_value, unpack_value


class Forms:
    """Returns the forms of spaces, and keeps them while the spaces do not change.

    The form of a space of Gymnasium is its description in the spec; of another space, the digest
    of its attributes.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[Any, bytes]] = {}

    def capture(self, found: Sequence[Mapping[str, Any]], named: Named) -> dict[str, Any]:
        """Return the forms of the spaces of all layers, by layer and name.

        A space that occurred before has the name of its first occurrence.

        Raises:
            CannotSnapshot: a space cannot be described.
        """
        names: dict[int, str] = {}
        forms: dict[str, Any] = {}
        for i, held in enumerate(found):
            for name, space in held.items():
                key = f"{i}.{name}"
                first = names.setdefault(id(space), key)
                forms[key] = self._form(key, space, named) if first is key else first
        return forms

    def _form(self, key: str, space: Any, named: Named) -> bytes:
        image, known = _image(space), self._known.get(key)
        if known is None or not _is_same(known[0], image):
            known = self._known[key] = (image, form_of(space, named))
        return known[1]


def form_of(space: Any, named: Named) -> bytes:
    """Return the form of one space as bytes.

    Raises:
        CannotSnapshot: it cannot be described.
    """
    if _is_plain(space):
        return encode_value(spaces.encode(space))
    try:
        others = {key: each for key, each in named.items() if each[0][0] != "space"}
        return encode_value({"digest": describe(space, others).digest})
    except Opaque as error:
        raise CannotSnapshot(f"a space of '{type(space).__qualname__}' holds {error}") from None


def _is_plain(space: Any) -> bool:
    if not type(space).__module__.startswith("gymnasium.spaces."):
        return False
    return all(_is_plain(each) for each in _inner(space))


def _inner(space: Any) -> list[Any]:
    """Return the spaces that a space is made of."""
    found: list[Any] = []
    for value in vars(space).values():
        parts = value.values() if isinstance(value, dict) else value
        if isinstance(value, Space):
            found.append(value)
        elif isinstance(value, (dict, list, tuple)):
            found += [each for each in parts if isinstance(each, Space)]
    return found


def _image(space: Any) -> Any:
    """Return nested data that tell whether a space has changed, without its generator."""
    found: list[Any] = [type(space)]
    for name, value in vars(space).items():
        if name == "_np_random":
            continue
        if isinstance(value, np.ndarray):
            found.append((value.dtype, value.shape, value.tobytes()))
        elif isinstance(value, Space):
            found.append(_image(value))
        elif isinstance(value, dict):
            found.append([(key, _inside(each)) for key, each in value.items()])
        elif isinstance(value, (list, tuple)):
            found.append(list(map(_inside, value)))
        else:
            found.append(value)
    return found


def _inside(value: Any) -> Any:
    return _image(value) if isinstance(value, Space) else value


def _is_same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # of a foreign class
        return False


def put_back(stack: Sequence[Any], forms: Mapping[str, Any], named: Named) -> None:
    """Make the spaces of all layers what they were; those that are so already stay.

    Raises:
        CannotRestore: a space of another kind than Gymnasium's has changed.
    """
    made: dict[str, Any] = {}
    for key, form in sorted(forms.items(), key=lambda item: isinstance(item[1], str)):
        place, _, name = key.partition(".")
        layer = stack[int(place)]
        slots = slots_of(type(layer))
        present = slots[name].__get__(layer) if name in slots else vars(layer).get(name)
        if isinstance(form, str):
            space = made[form]
        elif isinstance(present, Space) and form_of(present, named) == bytes(form):
            space = present
        else:
            data = unpack_value(bytes(form))
            if "type" not in data:
                raise CannotRestore(f"space '{name}' is not as it was when the snapshot was taken")
            space = spaces.decode(data)
        made[key] = space
        if space is present:
            continue
        if name in slots:
            slots[name].__set__(layer, space)
        else:
            vars(layer)[name] = space
