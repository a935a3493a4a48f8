"""``python tests/benchmarks``: the table; ``… curves``: cost against size; ``… beside``: the README's."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks import beside, cases_record, cases_remotes, curves, table


def main(arguments: list[str]) -> int:
    """Run the table, the curves, or (for cases of memory) what watches itself."""
    if arguments[:1] == ["curves"]:
        return curves.main(arguments[1:])
    if arguments[:1] == ["beside"]:
        return beside.main(arguments[1:])
    if arguments[:1] == ["watch"]:
        print(json.dumps(cases_record.watch(int(arguments[1]), Path(arguments[2]))))
        return 0
    if arguments[:1] in (["watch-push"], ["watch-clone"]):
        watch = getattr(cases_remotes, arguments[0].replace("-", "_"))
        print(watch(*map(Path, arguments[1:])))
        return 0
    return table.main(arguments)


sys.exit(main(sys.argv[1:]))
