"""The matrix: every environment of the families that simgit promises, examined.

    python tests/matrix --output docs/environments.md            # go on with what is missing
    python tests/matrix --only classic --only CartPole           # some of them
    python tests/matrix --small                                  # one or two of each family

Results are kept one a line in a file, so that a run that was stopped is gone on with; ``--again``
begins anew. The page's table is made of that file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from simgit.gym.tools.doctor import examine  # noqa: E402
from tests.matrix.cases import SMALL, Case, cases  # noqa: E402
from tests.matrix.table import put_into, tables  # noqa: E402
from tests.matrix.vectors import examine_vector  # noqa: E402


def main() -> None:
    """Examine what has no result yet, and write the table."""
    options = parse()
    os.nice(10)
    if options.again:
        options.results.unlink(missing_ok=True)
    known = {result["environment"]: result for result in load(options.results)}
    wanted = [case for case in cases() if is_wanted(case, options)]
    for i, case in enumerate(wanted, 1):
        if case.name not in known and not options.table:
            known[case.name] = result = examined(case, options)
            with options.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rounded(result), ensure_ascii=False) + "\n")
            print(f"{i}/{len(wanted)} {line(result)}", flush=True)
    results = [known[case.name] for case in wanted if case.name in known]
    if options.output is not None:
        put_into(options.output, tables(results, len(wanted)))
    if any(is_wrong(result) for result in results):
        sys.exit(1)


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, help="the page that the table is put into")
    parser.add_argument("--results", type=Path, default=HERE / "results.jsonl")
    parser.add_argument("--only", action="append", default=[], help="part of a name or family")
    parser.add_argument("--small", action="store_true", help="one or two of each family")
    parser.add_argument("--table", action="store_true", help="examine nothing, write the table")
    parser.add_argument("--again", action="store_true", help="forget earlier results")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--points", type=int, default=20)
    parser.add_argument("--horizon", type=int, default=200)
    return parser.parse_args()


def load(path: Path) -> list[dict[str, Any]]:
    """Return the results that there are."""
    if not path.exists():
        return []
    return [json.loads(text) for text in path.read_text("utf-8").splitlines()]


def is_wanted(case: Case, options: argparse.Namespace) -> bool:
    """Return whether a case is asked for."""
    if options.small and case.name not in SMALL:
        return False
    return not options.only or any(
        part in text for part in options.only for text in (case.family, case.name)
    )


def examined(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Return what was found out about an environment."""
    how = {"points": options.points, "horizon": options.horizon, "seed": options.seed}
    try:
        if case.vector is not None:
            found = examine_vector(case.name, case.vector, **how)
        else:
            found = examine(case.name, make=case.make, steps=options.steps, **how).to_json()
    except Exception as error:  # the others are to be examined all the same
        found = {"environment": case.name, "error": told(error)}
    return {"family": case.family, **found}


def rounded(value: Any) -> Any:
    """Return nested data with times to the tenth of a microsecond."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return round(value, 7) if isinstance(value, float) else value


def told(error: Exception) -> str:
    """Return an error in short, without the folders of this machine."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"no file '{Path(error.filename).name}' in its package"
    return str(error).partition(",")[0][:120]


def line(result: dict[str, Any]) -> str:
    """Return a line that tells how it went."""
    if "error" in result:
        return f"{result['environment']}: {result['error']}"
    points = len(result["points"])
    return f"{result['environment']}: {result['driver']}, {result['exact']} of {points} exact"


def is_wrong(result: dict[str, Any]) -> bool:
    """Return whether a deterministic environment was not restored exactly."""
    if "error" in result:
        return False  # what cannot be made here is in the table as such
    return result["repeats"] is None and result["exact"] < len(result["points"])


if __name__ == "__main__":
    main()
