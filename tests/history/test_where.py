"""Conditions on states: what they select, and that everything else is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simgit.errors import InvalidInput
from simgit.history.trajectory import Trajectory
from simgit.history.where import Predicate, where
from simgit.testing.builders import memory_database, record


def build() -> Trajectory:
    states: list[dict[str, Any]] = [
        {"observation": np.float32([0, 0, 0]), "reset": True, "info": {"lives": 3}},
        {"observation": np.float32([0, 1, 0.5]), "action": 1, "reward": 1.0, "terminated": False},
        {"observation": np.float32([2, 1, 0]), "action": 2, "reward": -1.0, "message": "crash at 2",
         "info": {"lives": 1, "tags": ["a"], "u8": np.uint8(1), "t": (1, 2)}},
        {"observation": np.float32([9, 9, 9]), "action": 0, "reward": 5.0, "terminated": True},
    ]  # fmt: skip
    odb = memory_database()
    tip = record(odb, states)
    return Trajectory(odb, tip.place, 0, 4)


TRAJECTORY = build()


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("reward > 0 and terminated", [3]),
        ("reward > 0 or info.lives == 1", [1, 2, 3]),
        ("not terminated", [0, 1, 2]),
        ("reward >= -1", [1, 2, 3]),
        ("0 < reward < 5", [1]),
        ("observation[2] > 0.1", [1, 3]),
        ("observation[-1] > 0.1 and step < 2", [1]),
        ("max(observation) == 2", [2]),
        ("max(observation[0], 1.5) == 2", [2]),
        ("max(observation - reward) > 2", [2, 3]),
        ("len(observation) == 3", [0, 1, 2, 3]),
        ("abs(reward) == 1", [1, 2]),
        ("action in (0, 2)", [2, 3]),
        ("action not in [0, 2]", [1]),
        ("info.lives", [0, 2]),
        ('info["lives"] > 1', [0]),
        ("info.t[1] == 2", [2]),
        ("info.tags[0] == 'a'", [2]),
        ("info.u8 - 2 < 0", [2]),
        ("'lives' in info", [0, 2]),
        ("'tags' not in info", [0]),
        ("'a' in info.tags", [2]),
        ("'crash' in message", [2]),
        ("len(message) > 3", [2]),
        ("message == None", [0, 1, 3]),
        ("message is not None", [2]),
        ("None == None", [0, 1, 2, 3]),
        ("reset", [0]),
        ("episode == 1", [0, 1, 2, 3]),
        ("step % 2 == 1 and step // 2 == 1", [3]),
        ("1 / action > 0.6", [1]),
        ("info.nothing > 1", []),
        ("info.nothing.deeper[3] == 1", []),
        ("step * 9223372036854775807 > 2", [1, 2, 3]),
        ("step < 100000000000000000000000000", [0, 1, 2, 3]),
        ("True", [0, 1, 2, 3]),
        ("files", []),
        (" reward > 0 ", [1, 3]),
    ],
)
def test_a_condition_selects_states(text: str, steps: list[int]) -> None:
    assert np.flatnonzero(where(text, TRAJECTORY)).tolist() == steps


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("reward=0.5", r"column 7: did you mean '=='\?$"),
        ("reward > 1 and action=0", r"column 22: did you mean '=='\?$"),
        ("message == 'a=b' and", "column 18: the condition ends after 'and'$"),
        ("reward >", "column 8: the condition ends after '>'$"),
        ("len(", r"ends after '\('$"),
        ("reward > 0 && terminated", "column 12: '&&' is not an operator; use 'and'$"),
        ("reward > 0 || terminated", "use 'or'$"),
        ("!terminated", "use 'not'$"),
        ("terminated & reset", r"'&' \(use 'and'\)"),
        ("~reset", r"'~' \(use 'not'\)"),
        ("reward > True and False =! 1", "use 'not'$"),
        ("reward > 1 1", "column 12: invalid syntax"),
        ("True = 1", "did you mean '=='"),
        ("action == left", "column 11: unknown field 'left'; write a text in quotes: 'left'$"),
        ("action in ('up', left)", "write a text in quotes: 'left'$"),
        ("action == rewrd", r"did you mean 'reward'\?$"),
        ("step > 'a'", "'step' is a number, 'a' is a text$"),
        ("terminated == 'yes'", "'terminated' is True or False"),
        ("message > 3", "3 is a number, 'message' is a text$"),
        ("message != 3", "'message' is a text"),
        ("episode in (1, '2')", "'episode' is a number"),
        ("1 < step < 'a'", "'step' is a number"),
        ("step % 2 == 'a'", "'step % 2' is a number"),
        ("reward > )", "column 10: unmatched"),
        ("rewrd > 0", r"unknown field 'rewrd'; did you mean 'reward'\?$"),
        ("score > 0", r"unknown field 'score' \(known: observation, .*, time\)$"),
        ("__import__('os')", "only abs, min, max, len can be called"),
        ("reward.__class__", "do not have this element"),
        ("(1).real", "apply to fields only"),
        ("[x for x in info]", "ListComp"),
        ("lambda: 0", "Lambda"),
        ("reward ** 2", r"the operator '\*\*' is not part"),
        ("reward if reset else 1", "IfExp"),
        ("f'{reward}'", "JoinedStr"),
        ("observation[0:1] > 1", "an index"),
        ("observation[step] > 1", "an index"),
        ("abs(1, 2)", "2 arguments"),
        ("max()", "0 arguments"),
        ("1j > 0", "'complex'"),
        ("b'a' == message", "'bytes'"),
        ("... == 1", "'ellipsis'"),
        ("observation > 0", "array of shape"),
        ("observation[7] > 0", "out of range"),
        ("observation.pos > 0", "do not have this element"),
        ("observation[0, 0] > 0", "do not have this element"),
        ("message + 1 > 0", "not a number"),
        ("len(reward) > 1", "no length"),
        ("reward < None", "None cannot be ordered"),
        ("1 in reward", "contains nothing"),
        ("(1, 2) == action", "does not stand for a value"),
        ("+" * 200 + "1", "nested deeper"),
        ("(" * 1000 + "1" + ")" * 1000, "nested parentheses"),
        ("9" * 400 + " > step", "too large"),
        ("1 > 0 " * 2000, "characters"),
        ("a\0b", "null bytes"),
        ("\ud800", "malformed"),
    ],
)
def test_everything_else_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        where(text, TRAJECTORY)


words = st.sampled_from(
    [
        "reward",
        "info",
        "observation",
        "action",
        "message",
        "step",
        "episode",
        "reset",
        ".",
        "[",
        "]",
        "(",
        ")",
        ",",
        " and ",
        " or ",
        " not ",
        " in ",
        "<",
        "==",
        "+",
        "-",
        "*",
        "/",
        "//",
        "%",
        "0",
        "1",
        "2.5",
        "'a'",
        "None",
        "True",
        "lives",
        "abs",
        "min",
        "max",
        "len",
        " is ",
        "tags",
        "t",
        "~",
        "**",
        ":",
        "\n",
        "#",
        "\\",
        "lambda ",
        "terminated",
        "files",
    ]
)


@given(st.text() | st.lists(words, max_size=14).map("".join))
def test_any_text_gives_a_mask_or_invalid_input(text: str) -> None:
    try:
        mask = where(text, TRAJECTORY)
    except InvalidInput:
        return
    assert mask.dtype == np.bool_ and mask.shape == (4,)


@given(st.lists(words, max_size=14).map("".join))
def test_a_condition_selects_the_same_states_in_parts(text: str) -> None:
    try:
        mask = where(text, TRAJECTORY)
    except InvalidInput:
        return
    assert mask.shape == (4,)
    assert where(text, TRAJECTORY[2:2]).shape == (0,)


def test_a_condition_shows_its_text() -> None:
    assert repr(Predicate("reward > 0")) == "Predicate('reward > 0')"
