"""Planted faults fit the code that they are planted in; whether they are noticed takes minutes."""

from __future__ import annotations

import ast

import pytest

from . import planted


@pytest.mark.parametrize("fault", planted.FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_a_fault_has_one_place_and_leaves_code_that_can_be_read(fault: planted.Planted) -> None:
    text = (planted.ROOT / "simgit" / fault.file).read_text()
    assert text.count(fault.old) == 1
    assert fault.new != fault.old
    ast.parse(text.replace(fault.old, fault.new))
