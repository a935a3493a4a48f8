"""What a real API server answered to bad manifests, and what the embedded cluster does with them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from simgit.errors import InvalidInput
from simgit.kube.embedded import EmbeddedCluster
from simgit.kube.embedded.quota import _ONLY_EXISTS
from simgit.kube.embedded.validation import _POD_WORDS, _STATEFUL_WORDS

TABLE = json.loads((Path(__file__).parents[1] / "data" / "refusals.json").read_text())
CASES: dict[str, dict[str, Any]] = {case["name"]: case for case in TABLE["cases"]}
NULL = "a null may be a mistake: 0 has to be written"
NAMED = "objects are known by their names: there is none to make up"
LATER = "since 1.27 the selectors of spread constraints are validated"
OTHER_VERDICTS = {
    "pod, a null quantity": NULL,
    "Deployment, a null quantity": NULL,
    "pod, a runtime class that is not there": "classes are not modelled, of which a trace's user is told",
    "pod, spread: In without values": LATER,
    "Deployment, spread: In without values": LATER,
    "Deployment, exists already": "the case creates, here objects are applied",
    "kind of another path": "there are no paths",
    "generateName": NAMED,
    "another namespace": "namespaces are there when they are needed",
}  # fmt: skip
"""The cases where the embedded cluster decides otherwise, and why."""
READ = "who reads the field says so, before validation"
OPERATOR = "the reader of selectors says which operator may be meant"
ONCE = "of two sentences about a name, one is said"
OTHER_WORDS = {
    "pod, negative limit": "the request that the limit stands for is not validated again",
    "pod, unknown resource without a domain": ONCE,
    "pod, resource with a bad name": ONCE,
    "Deployment named ''": NAMED,
    "no name": NAMED,
    "no metadata": NAMED,
    "Job, the selector of another": "the UID that it has to be is made there",
    "Job with a long name": "the label that a Job's pods get is said, that of the Job is not",
    "Deployment, no template": READ,
    "ReplicaSet, no template": READ,
    "StatefulSet, no template": READ,
    "DaemonSet, no template": READ,
    "Deployment, no spec": READ,
    "spec is null": READ,
    "Deployment, unknown operator": OPERATOR,
    "pod, affinity: unknown operator": OPERATOR,
    "Deployment, affinity: unknown operator": OPERATOR,
    "Deployment, unknown restartPolicy": "what no pod may have is said once",
    "DaemonSet, maxUnavailable of 0": "since 1.21 there is maxSurge",
}  # fmt: skip
"""The cases where it says something else, and why."""
SPELLINGS = (
    # as 1.20 says it: as current releases do
    (r"must be no more than (\d+) characters", r"must be no more than \1 bytes"),
    (r"at least one letter or number \(a-z, 0-9\)", "at least one letter (a-z)"),
    ("podAffinityTerm.matchExpressions.matchExp", "podAffinityTerm.labelSelector.matchExp"),
    (r"must be 'Exist' only operator .*", _ONLY_EXISTS),
    (r"updates to statefulset spec for .*", _STATEFUL_WORDS),
    (r"pod updates may not change .*", _POD_WORDS),
)
OURS = (
    # as current releases say it: as 1.20 does
    (r"(must be (?:less than or )?equal to \S+ limit) of [^ ,\]]+", r"\1"),
    (r" for: [-\w,]+; ", ","),
    (r" for: [-\w,]+$", ""),
)


def answer(case: dict[str, Any]) -> str | None:
    """Return why the embedded cluster refuses a case, None if it accepts it."""
    # 1.20 has no other version of budgets; current releases have no other than this one
    objects = [
        {**each, "apiVersion": each.get("apiVersion", "").replace("policy/v1beta1", "policy/v1")}
        for each in (*case.get("before", ()), case["manifest"])
    ]
    cluster = EmbeddedCluster()
    cluster.apply(objects[:-1])
    before = len(cluster.events())
    try:
        cluster.apply(objects[-1:])
    except InvalidInput as error:
        return str(error)
    # that a workload cannot have its pods is no refusal of the workload
    told = {(each["kind"], each["name"]): each["message"] for each in cluster.events()[before:]
            if each["reason"] == "FailedCreate"}  # fmt: skip
    found = told.get((objects[-1]["kind"], objects[-1]["metadata"]["name"]), "")
    return found if found.lower().startswith(objects[-1]["kind"].lower()) else None


def normal(message: str, spellings: tuple[tuple[str, str], ...]) -> list[str]:
    """Return the words of a refusal, in any order, without the values, which Go writes its way."""
    for pattern, spelling in spellings:
        message = re.sub(pattern, spelling, message)
    parts = message.split(" value: ")
    rest = [parts[0], *(part[_end_of_value(part) :] for part in parts[1:])]
    return sorted(re.split(r"[\[\], ]+", " value".join(rest)))


def _end_of_value(text: str) -> int:
    """Return where a value in Go's or JSON's form ends: at ': ' outside of brackets and quotes."""
    if "…: " in text:  # ours is cut
        return text.index("…: ") + 1
    depth, quoted = 0, False
    for at, char in enumerate(text):
        if char == '"':
            quoted = not quoted
        elif not quoted:
            depth += (char in "{[(") - (char in "}])")
            if depth == 0 and text.startswith(": ", at):
                return at
    return 0


@pytest.mark.parametrize("name", CASES)
def test_the_answer_is_that_of_a_real_server(name: str) -> None:
    case = CASES[name]
    found = answer(case)
    accepted = case["code"] in (200, 201)
    assert (found is None) == (accepted is not (name in OTHER_VERDICTS)), found or case["message"]
    if found is None or accepted or case["code"] == 400:  # the words of the reader of JSON
        return
    ours = normal(re.sub(r"^[^:]*/[^:]*: ", "", found), OURS)
    wanted = normal(case["message"], SPELLINGS)
    assert (ours == wanted) is (name not in OTHER_WORDS), (found, case["message"])
