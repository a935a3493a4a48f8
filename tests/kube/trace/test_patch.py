"""Patches: what edits changed, recorded as places and values."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simgit.errors import InvalidInput
from simgit.kube.manifest import freeze, replace
from simgit.kube.task.actions import ACTIONS, act
from simgit.kube.task.scenarios import generate
from simgit.kube.trace.edit import cut, edit, workload
from simgit.kube.trace.model import Event, Trace
from simgit.kube.trace.patch import WHOLE, apply_patch, patch_of
from simgit.kube.trace.sktrace import canonical_bytes
from simgit.objects.codec import decode_value, encode_value

WEB = workload("web")
BASE = generate("cpu-slight").trace


def test_an_edit_is_the_place_and_the_new_value() -> None:
    edited = act(BASE, WEB, "reduce_cpu_small").trace
    place = "spec/template/spec/containers/0/resources/requests/cpu"
    assert patch_of(BASE, edited) == {f"events/0/applied_objs/0/{place}": "16500m"}


def test_no_edit_is_no_patch() -> None:
    assert patch_of(BASE, BASE) == {} and apply_patch(BASE, {}) is BASE


@given(st.lists(st.sampled_from(ACTIONS.names()), max_size=20))
def test_a_patch_and_the_base_give_the_trace_back(actions: list[str]) -> None:
    trace = BASE
    for action in actions:
        trace = act(trace, WEB, action).trace
    patch = decode_value(encode_value(patch_of(BASE, trace)))
    assert apply_patch(BASE, patch) == trace
    assert canonical_bytes(apply_patch(BASE, patch)) == canonical_bytes(trace)


KEYS = st.text("ab/~0123", min_size=1, max_size=4)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(PLAIN, PLAIN)
def test_any_two_specs_are_told_apart_and_joined_again(old: Any, new: Any) -> None:
    left, right = _with_spec(freeze(old)), _with_spec(freeze(new))
    joined = apply_patch(left, decode_value(encode_value(patch_of(left, right))))
    assert encode_value(_spec(joined)) == encode_value(_spec(right))


def _with_spec(value: Any) -> Trace:
    return edit(BASE, WEB, lambda manifest: replace(manifest, ("spec", "x/y"), value))


def _spec(trace: Trace) -> Any:
    return next(trace.applied())["spec"]["x/y"]


def test_what_is_no_edit_of_objects_is_recorded_whole() -> None:
    for other in (cut(BASE, 7), Trace(BASE.events), Trace((*BASE.events, Event(99)))):
        patch = patch_of(BASE, other)
        assert patch.keys() == {WHOLE} and apply_patch(BASE, patch) == other


@pytest.mark.parametrize(
    "place",
    ["", "events", "spec/0/applied_objs/0/x", "events/x/applied_objs/0/a", "events/0/applied_objs/9/a", "events/7/applied_objs/0/a", "events/0/applied_objs/0/kind/0/a/3"],
)  # fmt: skip
def test_a_place_that_is_not_there_is_refused(place: str) -> None:
    with pytest.raises(InvalidInput, match="place"):
        apply_patch(BASE, {place: 1})
