"""Print the outcome of every nasty environment: ``python -m tests.gym.nasty [NAME …]``."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.gym.nasty import envs, matrix

chosen = [each for each in envs.CASES if not sys.argv[1:] or each[0] in sys.argv[1:]]
total: Counter[str] = Counter()
with tempfile.TemporaryDirectory() as directory:
    cases = matrix.cases(chosen, snapshots=4, self_check=False)
    for run, found in sorted(matrix.outcomes(Path(directory), cases).items()):
        kinds = matrix.kinds(found)
        total += kinds
        print(f"{run:50}", *(f"{kind} {count}" for kind, count in kinds.most_common()))
        for text in sorted({each for each in found if each != "equal"}):
            print("   ", text[:150])
print("in all:", *(f"{kind} {count}" for kind, count in total.most_common()))
