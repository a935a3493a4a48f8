"""Write the golden files of other formats: ``python -m tests.golden.make_formats``.

They are written once, by the version that brought a format, and read by all later ones.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from simgit import Repository
from tests.datasets.formats.cases import episodes, everything, read, write

FOLDER = Path(__file__).with_name("formats")
FILES = {
    "all.jsonl": "jsonl", "all.parquet": "parquet", "all.arrow": "arrow", "all.csv": "csv",
    "pole.npz": "numpy", "pole-minari": "minari", "pole-lerobot": "lerobot",
}  # fmt: skip


def main() -> None:
    """Write the files, and the oids of the runs that are in them."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    oids: dict[str, Any] = {}
    for name, format_name in FILES.items():
        repo = Repository.init(":memory:")
        if name.startswith("all"):
            everything(repo)
        else:
            episodes(repo)
        write(repo, format_name, FOLDER / name, "main", "what-if")
        oids[name] = {run: str(repo.runs[run].oid) for run in repo.runs}
    oids["read"] = {}
    for name in ("all.csv", "pole.npz"):
        repo = Repository.init(":memory:")
        read(repo, FOLDER / name)
        oids["read"][name] = {run: str(repo.runs[run].oid) for run in repo.runs}
    (FOLDER / "oids.json").write_text(json.dumps(oids, indent=1) + "\n")


if __name__ == "__main__":
    main()
