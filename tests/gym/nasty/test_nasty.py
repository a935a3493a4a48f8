"""No nasty environment goes on differently after a restore without a word.

The full profile has all environments, each at one of the times when its number changes, the others a
sixteenth; and the other tests at all times, recorded with other snapshots (a quarter
of the cases with each, as one takes a second), and with the check of the recorder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simgit.gym.tools.doctor import examine
from tests.gym.nasty import envs, matrix
from tests.support.examples import FULL, share

EXACT = {
    "InEnv", "InEnvs", "InMetadata", "InClock", "InSlots", "InActionSpace", "InSpaceOfSeveral",
    "InBoundOfSpace", "InEnum", "InFlag", "InDrawnClass", "InBoundMethod", "InPartial",
    "InNestedObject", "InSharedList", "InView", "InScalarArray", "InDictSubclass", "InListSubclass",
    "InIterator", "InCycle", "InSpawned", "InIdentity", "InForgetful", "InRebuilt", "InGenerator",
    "InThread", "InSuite", "InSimulation", "InRect", "InSurface", "InTorchLoadedLate",
    "InWrappedEnvironment", "InOtherEnvironments", "InTensors", "InSpacesNumbers", "IsDict",
}  # fmt: skip
"""Environments that are restored exactly, from a snapshot or by re-execution."""


def _silent(found: dict[str, list[str]]) -> dict[str, list[str]]:
    wrong = {
        run: [
            each for each in texts if not each.startswith(("equal", "refused", "warned", "raised"))
        ]
        for run, texts in found.items()
    }
    return {run: texts for run, texts in wrong.items() if texts}


def test_there_are_many_kinds() -> None:
    assert len(envs.HIDING) > 100


@pytest.mark.slow
def test_restored_elsewhere_none_goes_on_differently_without_a_word(tmp_path: Path) -> None:
    once = [
        (name, kind.times[i % len(kind.times)])
        for i, (name, kind) in enumerate(envs.HIDING.items())
        if i % 16 == 1 or share(2 * FULL) > FULL
    ]
    cases = matrix.cases(once, snapshots=4, self_check=False)
    found = matrix.outcomes(tmp_path, cases)
    assert _silent(found) == {}
    exact = {case.name for case in cases if set(found[case.run]) == {"equal"}}
    assert EXACT & {case.name for case in cases} - exact == set()


@pytest.mark.slow
def test_nor_does_a_lane_of_a_vector(tmp_path: Path) -> None:
    names = ("InEnv", "InEnum", "InClass", "InListOfTheClass", "InSpacesNumbers", "InGlobalRandom",
             "InSharedGenerator", "InSimulation", "InSetOfNumbers", "InClosure")  # fmt: skip
    cases = matrix.cases([(name, "step") for name in names], lanes=2, snapshots=4, self_check=False)
    found = matrix.outcomes(tmp_path, cases)
    assert _silent(found) == {}
    exact = {case.name for case in cases if set(found[case.run]) == {"equal"}}
    assert {"InEnv", "InEnum", "InSharedGenerator", "InSimulation", "InClosure"} & {
        case.name for case in cases
    } - exact == set()


@pytest.mark.slow
@pytest.mark.parametrize("options", [
    {"snapshots": 1, "self_check": False}, {"snapshots": 7, "self_check": False}, {"snapshots": 5}, {},
], ids=["each step", "seven", "checked", "defaults"])  # fmt: skip
def test_none_does_with_other_snapshots(tmp_path: Path, options: dict[str, Any]) -> None:
    chosen = {1: envs.CASES[::4], 7: envs.CASES[2::4]}
    cases = chosen.get(options.get("snapshots", 0), envs.CASES[1::16])  # a check takes a second
    found = matrix.outcomes(tmp_path, matrix.cases(cases, **options))
    assert _silent(found) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["InEnv", "InClass", "InFile", "InSimulation", "FromSystem"],
)
def test_the_doctor_says_what_then_happens(tmp_path: Path, name: str) -> None:
    if name in envs.NEEDS:
        pytest.importorskip(envs.NEEDS[name])
    told = examine(f"nasty/{name}-v0", {"when": "step"}, steps=60, points=4, horizon=20)
    found = matrix.outcomes(tmp_path, matrix.cases([(name, "step")], snapshots=4))
    is_exact = told.repeats is None and told.exact == len(told.points)
    if is_exact:
        assert set(*found.values()) == {"equal"}
    else:
        assert name not in EXACT
