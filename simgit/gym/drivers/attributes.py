"""The attributes of all layers as stored data: plain values if possible, else one pickle.

``body`` is the encoding as bytes in a padded array: an array is stored as its difference to that of
the previous snapshot if both have the same size. Large attributes that do not change (Taxi's table)
are in ``large`` as separate bytes, which are stored once. ``spaces`` has the spaces, ``outside``
descriptions of what the environment's code can change outside of its attributes.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from gymnasium.envs.registration import EnvSpec

from simgit.errors import InvalidInput
from simgit.gym.drivers import older, outside, pickles, randomness, space_forms
from simgit.gym.drivers.classes import c_bases
from simgit.gym.drivers.describe import Named, Opaque, describe, digests, shared_parts
from simgit.gym.drivers.limits import CannotRestore, CannotSnapshot, NotPlain
from simgit.gym.drivers.plain import Decoder, Encoder, Parts, check_memory, parts_of
from simgit.gym.drivers.stored_form import padded, unpadded
from simgit.gym.drivers.wrappers import AttributeRules, class_name, put_state
from simgit.objects.codec import encode_value, unpack_value

_LARGE: Final = 256
"""The number of values from which on a container is encoded separately."""
Owned = Sequence[frozenset[str] | None]


class Attributes:
    """Captures the attributes of layers, and caches large ones that did not change."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], _Known] = {}
        self._rules = AttributeRules()
        self._spaces = space_forms.Forms()
        self._outside: outside.Outside | None = None
        self._code: dict[tuple[int, str], set[bytes]] = {}
        self._is_first = True

    def capture(
        self,
        stack: Sequence[Any],
        owned: Owned,
        inner: Sequence[tuple[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """Return the attributes of all layers.

        Args:
            stack: the layers.
            owned: for each layer the attributes to leave out; None leaves out all.
            inner: all spaces of the layers, if they are known already.

        Raises:
            CannotSnapshot: an attribute can be neither encoded nor pickled, or what the code can
                change outside of them cannot be described.
        """
        if self._outside is None:
            check_classes(stack, owned)
            self._outside = outside.Outside(_captured(stack, owned))
        states, spaces = [], []
        for i, (layer, names) in enumerate(zip(stack, owned, strict=True)):
            state = ({}, {}) if names is None else self._rules.state(i, layer, names)
            states.append(state[0])
            spaces.append(state[1])
        named = named_parts(stack, inner)
        beyond, parts = self._outside.describe(named)
        named = {**parts, **named}
        more = {
            "spaces": self._spaces.capture(spaces, named),
            "outside": beyond,
            "arguments": arguments_of(self._rules, stack, owned),
        }
        try:
            found = self._plain(states, named)
        except (
            NotPlain,
            InvalidInput,
            RecursionError,
        ) as error:  # no canonical form: long doubles, for instance
            if isinstance(error, CannotSnapshot):
                raise
            found = {"form": "pickle", "body": padded(pickles.dump(states, stack, named))}
        self._is_first = False
        return {**found, **{name: value for name, value in more.items() if value}}

    def _plain(self, states: list[dict[str, Any]], named: Named) -> dict[str, Any]:
        here = (0, "")

        def code(encoder: Encoder, value: Any) -> bytes:
            try:
                found, parts = describe(value, named)
            except Opaque as error:
                raise NotPlain(str(error)) from None
            known = self._code.setdefault(here, set())
            if self._is_first:
                known.add(found)
            elif found not in known:
                raise NotPlain("code that has changed")
            encoder.leave(shared_parts(value, parts))
            return found

        encoder = Encoder(named, code)
        rows: list[dict[str, Any]] = []
        large: list[bytes] = []
        for i, state in enumerate(states):
            row: dict[str, Any] = {}
            for name, value in state.items():
                here = i, name
                known = self._large(i, name, value, encoder)
                if known is None:
                    row[name] = encoder.encode(value)
                else:
                    row[name] = {"L": len(large)}
                    large.append(known)
            rows.append(row)
        check_memory(encoder.arrays)
        body = padded(encode_value(rows, "attributes"))
        return {"form": "plain", "body": body, **({"large": large} if large else {})}

    def _large(self, layer: int, name: str, value: Any, encoder: Encoder) -> bytes | None:
        """Return the encoding of a large container, cached if it has not changed; else None."""
        if type(value) not in (dict, list, tuple) or id(value) in encoder.named:
            return None
        key = layer, name
        if key not in self._known and not _is_large(value):
            return None
        image, known = _image(value), self._known.get(key)
        if known is None or known.image != image:
            form = encode_value(encoder.encode(value), name)
            self._known[key] = _Known(value, *parts_of(value), image, form)
            return form
        if known.value is not value:
            self._known[key] = known = _Known(value, *parts_of(value), image, known.form)
        encoder.pass_over(known.parts, known.arrays)
        return known.form


class _Known(NamedTuple):
    """A cached large container: its mutable values, the arrays among them, an image to detect
    changes, its encoding."""

    value: Any
    parts: Parts
    arrays: list[Any]
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


def check_classes(stack: Sequence[Any], owned: Owned) -> None:
    """Check that the state of all layers is in attributes.

    Raises:
        CannotSnapshot: a layer extends a class that keeps state elsewhere.
    """
    for layer, names in zip(stack, owned, strict=True):
        found = [] if names is None else c_bases(type(layer))
        if found:
            raise CannotSnapshot(
                f"'{class_name(layer)}' extends '{found[-1].__qualname__}', whose content is in no "
                "attribute"
            )


def _captured(stack: Sequence[Any], owned: Owned) -> list[Any]:
    """Return the layers whose attributes are captured."""
    return [layer for layer, names in zip(stack, owned, strict=True) if names is not None]


def arguments_of(rules: AttributeRules, stack: Sequence[Any], owned: Owned) -> dict[str, bytes]:
    """Return digests of the arguments with which layers were made, by their positions."""
    return {
        str(i): digest
        for i, (layer, names) in enumerate(zip(stack, owned, strict=True))
        if names is not None and (digest := rules.arguments(i, layer)) is not None
    }


def named_parts(
    stack: Sequence[Any], spaces: Sequence[tuple[str, Any]] | None = None
) -> dict[int, tuple[Any, Any]]:
    """Return the parts of an environment that have a name, by their ids.

    The names are the same for environments made in one way.
    """
    spaces = list(randomness.all_spaces(stack)) if spaces is None else spaces
    found: dict[int, tuple[Any, Any]] = {}
    for i, layer in enumerate(stack):
        found[id(layer)] = (("layer", i), layer)
        for attribute in ("spec", "_cached_spec"):
            value = vars(layer).get(attribute)
            if type(value) is EnvSpec:
                found.setdefault(id(value), (("spec", i, attribute), value))
    for key, space in spaces:
        found.setdefault(id(space), (("space", key), space))
    for name, generator in randomness.named(stack, spaces).items():
        found.setdefault(id(generator), (name, generator))
        bits = getattr(generator, "bit_generator", None)
        if bits is not None:
            found.setdefault(id(bits), (("bits", *name[1:]), bits))
    return found


# --- putting back ---------------------------------------------------------------------------------


class Restoration:
    """Puts attributes back: first it checks that it can, and what it decodes is set at the end."""

    def __init__(self, stack: Sequence[Any], owned: Owned, data: Mapping[str, Any]) -> None:
        """Check that the environment has what the snapshot refers to.

        Raises:
            CannotRestore: it does not.
        """
        self._stack, self._owned, self._data = stack, owned, data
        self._is_old = data["version"] == 1
        self._parts: dict[int, tuple[Any, Any]] = {}
        if not self._is_old:
            named = named_parts(stack)
            self._check_arguments()
            beyond, self._parts = outside.Outside(_captured(stack, owned)).describe(named)
            outside.check(beyond, data.get("outside", {}))
            space_forms.put_back(stack, data.get("spaces", {}), named)
        self._plain = self._decoded() if data["form"] == "plain" else None

    def _check_arguments(self) -> None:
        recorded = self._data.get("arguments", {})
        found = arguments_of(AttributeRules(), self._stack, self._owned)
        for i in recorded.keys() & found.keys():
            if recorded[i] != found[i]:
                raise CannotRestore(
                    f"'{class_name(self._stack[int(i)])}' was made with other arguments than when "
                    "the snapshot was taken"
                )

    def _decoded(self) -> list[dict[str, Any]]:
        rows = unpack_value(unpadded(self._data["body"]))
        self._check_count(rows)
        large = self._data.get("large", ())
        named = {**self._parts, **named_parts(self._stack)}
        by_name = {tuple(name): value for name, value in named.values()}
        fresh: Any = None
        attribute = ""

        def resolve(name: list[Any]) -> Any:
            try:
                return by_name[tuple(name)]
            except KeyError:
                raise _unknown(name) from None

        def code(digest: bytes) -> Any:
            try:
                return digests(fresh, named)[digest]
            except KeyError:
                raise CannotRestore(
                    f"attribute '{attribute}' of '{class_name(layer)}' holds other code than when "
                    "the snapshot was taken"
                ) from None

        decoder = Decoder(resolve, code)
        found = []
        for layer, row in zip(self._stack, rows, strict=True):
            held = AttributeRules().attributes(layer)
            state = {}
            for attribute, plain in row.items():
                fresh = held.get(attribute)
                if type(plain) is dict and "L" in plain:
                    plain = unpack_value(bytes(large[plain["L"]]))
                state[attribute] = decoder.decode(plain)
            found.append(state)
        return found

    def apply(self) -> None:
        """Put attributes back and remove later ones. A pickle is loaded.

        Generators have been put back: attributes may refer to them.

        Raises:
            InvalidInput: the snapshot is of another stack of wrappers.
            IntegrityError: it is damaged.
        """
        states = self._plain
        if states is None:
            named = {**self._parts, **named_parts(self._stack)}
            known = {**older.named(self._stack)} if self._is_old else {}
            known |= {tuple(name): value for name, value in named.values()}
            body = unpadded(self._data["body"])
            states = pickles.load(body, known, lambda: digests([*map(vars, self._stack)], named))
            self._check_count(states)
        rules = AttributeRules()
        spaces = self._data.get("spaces", {})
        for i, (layer, names, state) in enumerate(
            zip(self._stack, self._owned, states, strict=True)
        ):
            if names is None:
                continue
            if self._is_old:
                older.put_state(layer, state, names)
                continue
            present, held = rules.state(i, layer, names)
            late = {name: value for name, value in held.items() if f"{i}.{name}" not in spaces}
            put_state(layer, state, present | late)

    def _check_count(self, states: Sequence[Any]) -> None:
        if len(states) != len(self._stack):
            raise InvalidInput(
                f"the snapshot has {len(states)} layers of wrappers, the environment has "
                f"{len(self._stack)}"
            )


def _unknown(name: Sequence[Any]) -> CannotRestore:
    return CannotRestore(
        f"the snapshot refers to '{' '.join(map(str, name))}', which the environment does not have"
    )
