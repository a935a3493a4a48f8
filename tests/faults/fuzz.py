"""Coverage-guided fuzzing of every decoder, with atheris; a unit is a minute on one of them.

``python -m tests.faults.fuzz NAME SECONDS CORPUS`` fuzzes one decoder.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simgit.errors import FormatError, IntegrityError

ROOT = Path(__file__).parents[2]
SECONDS = 60


def targets() -> dict[str, tuple[list[bytes], Callable[[bytes], Any]]]:
    """Return the decoders by name, each with seeds."""
    from simgit import Repository
    from simgit.remotes.bundle import verify
    from tests.objects.test_damaged_bytes import DECODERS
    from tests.remotes import test_bundle

    found: dict[str, tuple[list[bytes], Callable[[bytes], Any]]] = {
        name: ([seed], decode) for name, (seed, decode) in DECODERS.items()
    }
    small = test_bundle.SMALL()

    def with_checks(data: bytes) -> bytes:
        """Give the records of a bundle, cut where the seed is, right checksums."""
        kinds = [kind for kind, _ in test_bundle.parts(small)]
        parts = data.split(b"\xfe\xed\xfa\xce")
        return test_bundle.joined(list(zip(kinds, parts, strict=False)))

    def load(data: bytes) -> None:
        with Repository.init(":memory:") as repo:
            repo.import_bundle(io.BytesIO(with_checks(data)))

    seed = b"\xfe\xed\xfa\xce".join(body for _, body in test_bundle.parts(small))
    found["bundle"] = [small], lambda data: verify(io.BytesIO(data).read)
    found["import"] = [seed], load
    return found


def fuzz(name: str, seconds: int, corpus: Path) -> None:
    """Fuzz one decoder; any error but simgit's own ends the process with a failure."""
    import atheris

    with atheris.instrument_imports(include=["simgit"]):
        seeds, decode = targets()[name]
    for number, seed in enumerate(seeds):
        (corpus / f"seed{number}").write_bytes(seed)

    def one(data: bytes) -> None:
        with contextlib.suppress(IntegrityError, FormatError):
            decode(data)

    options = [f"-max_total_time={seconds}", "-rss_limit_mb=2048", "-timeout=20", "-max_len=4096"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


def unit(number: int, directory: Path) -> tuple[Counter[str], list[str]]:
    """Fuzz the next decoder for a minute; without atheris nothing."""
    if importlib.util.find_spec("atheris") is None:
        return Counter({"skipped": 1}), []
    names = sorted(targets())
    name = names[number % len(names)]
    corpus = directory / "corpus"
    corpus.mkdir()
    command = [sys.executable, "-m", "tests.faults.fuzz", name, str(SECONDS), str(corpus)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=directory, env=env, capture_output=True, text=True, check=False
    )
    runs = [line for line in done.stderr.splitlines() if line.startswith("Done ")]
    count = int(runs[-1].split()[1]) if runs else 0
    failures = [] if done.returncode == 0 else [f"{name}: {done.stderr[-3000:]}"]
    return Counter({"decoders": 1, "inputs": count}), failures


if __name__ == "__main__":
    fuzz(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
