"""The attributes of all layers as stored data: plain values if possible, else one pickle.

``body`` is the encoding as bytes in a padded array: an array is stored as its difference to that of
the previous snapshot if both have the same size. Large attributes that do not change (Taxi's table)
are in ``large`` as separate bytes, which are stored once.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from simgit.errors import InvalidInput
from simgit.gym.drivers import pickles, randomness
from simgit.gym.drivers.plain import Encoder, NotPlain, Parts, decode, parts_of
from simgit.gym.drivers.stored_form import padded, unpadded
from simgit.gym.drivers.wrappers import put_state, state_of
from simgit.objects.codec import encode_value, unpack_value

_LARGE: Final = 256
"""The number of values from which on a container is encoded separately."""
Owned = Sequence[frozenset[str] | None]


class Attributes:
    """Captures the attributes of layers, and caches large ones that did not change."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], _Known] = {}

    def capture(self, stack: Sequence[Any], owned: Owned) -> dict[str, Any]:
        """Return the attributes of all layers.

        Args:
            stack: the layers.
            owned: for each layer the attributes to leave out; None leaves out all.

        Raises:
            CannotSnapshot: an attribute can be neither encoded nor pickled.
        """
        states = [
            {} if names is None else state_of(layer, names)
            for layer, names in zip(stack, owned, strict=True)
        ]
        try:
            return self._plain(states, Encoder(randomness.named(stack).values()))
        except (
            NotPlain,
            InvalidInput,
            RecursionError,
        ):  # no canonical form: long doubles, for instance
            return {"form": "pickle", "body": padded(pickles.dump(states, stack))}

    def _plain(self, states: list[dict[str, Any]], encoder: Encoder) -> dict[str, Any]:
        rows: list[dict[str, Any]] = []
        large: list[bytes] = []
        for i, state in enumerate(states):
            row: dict[str, Any] = {}
            for name, value in state.items():
                known = self._large(i, name, value, encoder)
                if known is None:
                    row[name] = encoder.encode(value)
                else:
                    row[name] = {"L": len(large)}
                    large.append(known)
            rows.append(row)
        body = padded(encode_value(rows, "attributes"))
        return {"form": "plain", "body": body, **({"large": large} if large else {})}

    def _large(self, layer: int, name: str, value: Any, encoder: Encoder) -> bytes | None:
        """Return the encoding of a large container, cached if it has not changed; else None."""
        if type(value) not in (dict, list, tuple):
            return None
        key = layer, name
        if key not in self._known and not _is_large(value):
            return None
        image, known = _image(value), self._known.get(key)
        if known is None or known.image != image:
            form = encode_value(encoder.encode(value), name)
            self._known[key] = _Known(value, parts_of(value), image, form)
            return form
        if known.value is not value:
            self._known[key] = known = known._replace(value=value, parts=parts_of(value))
        encoder.pass_over(known.parts)
        return known.form


class _Known(NamedTuple):
    """A cached large container: its mutable values, an image to detect changes, its encoding."""

    value: Any
    parts: Parts
    image: bytes
    form: bytes


def _image(value: Any) -> bytes:
    """Return bytes to detect a change of a value; much faster than encoding it."""
    try:
        return pickle.dumps(value, protocol=5)
    except Exception as error:
        raise NotPlain(str(error)) from error


def _is_large(value: Any) -> bool:
    """Return True if a container holds many values, counting no further than needed."""
    waiting, count = [value], 0
    while waiting and count < _LARGE:
        items = waiting.pop()
        inner = items.values() if type(items) is dict else items
        count += len(inner)
        waiting += [item for item in inner if type(item) in (dict, list, tuple)]
    return count >= _LARGE


def apply(stack: Sequence[Any], owned: Owned, data: Mapping[str, Any]) -> None:
    """Put attributes back and remove later ones. A pickle is loaded.

    Raises:
        InvalidInput: the snapshot is of another stack of wrappers.
        IntegrityError: it is damaged.
    """
    body = unpadded(data["body"])
    if data["form"] == "pickle":
        states = pickles.load(body, stack)
    else:
        states = [_decoded(row, data.get("large", ())) for row in unpack_value(body)]
    if len(states) != len(stack):
        raise InvalidInput(
            f"the snapshot has {len(states)} layers of wrappers, the environment {len(stack)}"
        )
    for layer, names, state in zip(stack, owned, states, strict=True):
        if names is not None:
            put_state(layer, state, names)


def _decoded(row: dict[str, Any], large: Sequence[bytes]) -> dict[str, Any]:
    found = {}
    for name, plain in row.items():
        if type(plain) is dict and "L" in plain:
            plain = unpack_value(bytes(large[plain["L"]]))
        found[name] = decode(plain)
    return found
