"""Whether recording leaves every environment of the matrix as it is.

    PYTHONPATH=. python tests/matrix/observer.py          # some minutes

Each is driven with the same seed and actions twice, bare and recorded; everything that comes back
has to be equal.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import patch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

import gymnasium  # noqa: E402

from simgit import Repository  # noqa: E402
from simgit.gym import Recorder  # noqa: E402
from tests.gym.recording.test_recorder import drive  # noqa: E402
from tests.matrix.cases import cases  # noqa: E402

STEPS = 100


def main() -> int:
    """Compare all; print what differs; return 1 if anything does."""
    warnings.simplefilter("ignore")
    wanted = [case for case in cases() if case.vector is None]
    with patch("time.perf_counter", return_value=0.0):  # RecordEpisodeStatistics tells the time
        found = {case.name: outcome(case) for case in wanted}
    for name, what in found.items():
        if what != "equal":
            print(f"{name}: {what}")
    differing = sum(what == "differs" for what in found.values())
    equal = sum(what == "equal" for what in found.values())
    print(f"{equal} of {len(wanted)} environments are the same when they are recorded")
    return int(differing > 0)


def outcome(case: Any) -> str:
    """Return "equal", "differs", or why the environment cannot be made."""
    try:
        bare = drive(made(case), STEPS)
    except Exception as error:
        return f"cannot be made: {str(error).splitlines()[0][:80]}"
    env = Recorder(made(case), Repository.init(":memory:"), provenance=False)
    recorded = drive(env, STEPS)
    env.close()
    return "equal" if recorded == bare else "differs"


def made(case: Any) -> Any:
    """Return the environment of a case."""
    return case.make() if case.make is not None else gymnasium.make(case.name)


if __name__ == "__main__":
    sys.exit(main())
