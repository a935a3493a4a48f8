"""Planted faults: the harnesses are shown to bite on copies of the code that are wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.support.patience import PATIENCE

ROOT = Path(__file__).parents[2]
SECONDS = 10 * PATIENCE


@dataclass(frozen=True)
class Planted:
    """A fault: what is replaced in which file, and the harness that must notice.

    Attributes:
        name: what is wrong.
        file: below ``simgit``.
        old: what stands there, once.
        new: what stands there instead.
        harness: Python that fails, or the arguments of pytest.
    """

    name: str
    file: str
    old: str
    new: str
    harness: str | tuple[str, ...]


HALVES = "txn._txn.commit(); txn._txn = txn._environment.env.begin(write=True)  # type: ignore"
KILLS = "for n in range(12): check(kills.session(n, d).failures)"
POWER = "check(power.sweep(d, 0)[1])"
IN_PLACE = "check(damage.sweep(d, 400, in_place=True)[1])"
ROOTS = ("tests/maintenance/gc/test_roots.py",)
BUNDLES = ("tests/remotes/test_bundle.py",)
FILES = "storage/lmdb/files.py"
ENVIRONMENT = "storage/lmdb/environment.py"


def _unsynced(name: str, option: str) -> Planted:
    spare = "                max_spare_txns=0,"
    return Planted(name, FILES, spare, f"                {option}, {spare.strip()}", POWER)


def _forgetful(root: str, line: str) -> Planted:
    return Planted(f"gc forgets {root}", "maintenance/gc/roots.py", line, "", ROOTS)


FAULTS = (
    _unsynced("commits are not synced", "sync=False"),
    _unsynced("the meta page is not synced", "metasync=False"),
    Planted(
        "a new repository's format is not synced", "storage/regular.py",
        "                os.fsync(file.fileno())", "                pass", POWER,
    ),
    Planted(
        "a compact copy is not synced before it is moved", ENVIRONMENT,
        '        sync(target / "data.mdb")\n', "", POWER,
    ),
    Planted(
        "a transaction is committed in two halves", "odb/segments/state_store.py",
        '        fail_point("states.stored")', f'        {HALVES}\n        fail_point("states.stored")',
        KILLS,
    ),
    Planted(
        "a run that is recorded is opened again", "refs/runs.py",
        "            raise being_recorded(name, ref.writer, ANOTHER_RUN)\n", "            pass\n",
        ("tests/recording/test_claims.py", "-k", "moment"),
    ),
    Planted(
        "the clock takes a state that is being appended", "recording/recorder.py",
        "            count = len(lists[-1])", "            count = len(lists[0])",
        ("tests/recording/test_endings.py", "-k", "between_any_two_lines"),
    ),
    Planted(
        "a ref is moved before its states", "recording/flush.py",
        "        self.tip = store(self.odb, txn, batches, (self.tip,) if self.tip else ())\n",
        "        early = self.ref._replace(oid=Oid(batches[-1].oids[-1]))\n"
        "        self.refs.update_run(txn, self.name, self.ref, early, None)\n"
        f"        {HALVES}\n"
        "        self.refs.update_run(txn, self.name, early, self.ref, None)\n"
        "        self.tip = store(self.odb, txn, batches, (self.tip,) if self.tip else ())\n",
        KILLS,
    ),
    Planted(
        "checksums of blocks are not compared", "odb/segments/header.py",
        "if len(data) != size or checksum(data) != check:", "if len(data) != size:", IN_PLACE,
    ),
    Planted(
        "names of objects are not recomputed", "odb/database.py",
        "    if (found := hash_object(kind, payload)) != oid:\n", "    if not (found := oid):\n",
        ("tests/maintenance/fsck/test_fsck.py", "tests/faults/test_damage.py"),
    ),
    Planted(
        "a copy is not recognised", "storage/datafile.py",
        "        return not _same(Origin.parse(recorded), identity(directory))",
        "        return Origin.parse(recorded) is None",
        ("tests/remotes/test_clone.py", "-k", "cop"),
    ),
    Planted(
        "a truncated file is mapped", "storage/datafile.py",
        "    return needed_size(data) > data.stat().st_size", "    return needed_size(data) < 0",
        ("tests/remotes/test_clone.py", "-k", "truncated"),
    ),
    Planted(
        "a clone copies the file as it is", ENVIRONMENT,
        "            self.env.copy(str(target), compact=True)",
        '            import shutil; shutil.copyfile(self.directory / "data.mdb", target / "data.mdb")',
        ("tests/remotes/test_clone.py", "-k", "free or records"),
    ),
    Planted(
        "the file is replaced while others have it open", "storage/lmdb/lease.py",
        "            return False\n        try:\n            fcntl.flock(self._handle, fcntl.LOCK_EX | ",
        "            return False\n        try:\n            fcntl.flock(self._handle, fcntl.LOCK_UN | ",
        ("tests/storage/test_lmdb_compaction.py",),
    ),
    Planted(
        "a store is not opened again after a commit that failed", ENVIRONMENT,
        "            except lmdb.PanicError:\n                self._recover(txn)",
        "            except lmdb.PanicError:\n                pass",
        "check(io_errors.sweep(d, 0, 40))",
    ),
    Planted(
        "gc forgets remote-tracking refs", "maintenance/gc/roots.py",
        "for space in OF_RUNS]", "for space in OF_RUNS[:1]]", ROOTS,
    ),
    _forgetful("the reflogs", "    yield from logged_oids(txn, read)\n"),
    _forgetful("the operation log", "    yield from OperationLog().roots(txn, read)\n"),
    _forgetful("HEAD", "    yield from [head] if head is not None else []\n"),
    Planted(
        "a bundle's objects are believed", "remotes/bundle/objects.py",
        "    if hash_object(kind, payload) != oid:", "    if not oid:", BUNDLES,
    ),
    Planted(
        "a bundle's links are not checked", "remotes/bundle/objects.py",
        "        if not has(odb, txn, kind, link):", "        if not link:", BUNDLES,
    ),
    Planted(
        "an import sets refs before the end was read", "remotes/bundle/loading.py",
        "        self._check_prerequisites(manifest)\n",
        "        self._check_prerequisites(manifest)\n        stream = itertools.islice(stream, 40)\n",
        BUNDLES,
    ),
)  # fmt: skip

HARNESS = """
import sys
from pathlib import Path
from tests.faults import damage, io_errors, kills, power

def check(failures):
    for failure in failures:
        sys.exit(failure)

d = Path(sys.argv[1])
"""


def copy_code(target: Path, fault: Planted | None) -> None:
    """Copy the code, with a fault in it.

    Raises:
        AssertionError: the code is not what the fault was made for.
    """
    for name in ("simgit", "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, target / name, ignore=ignored, dirs_exist_ok=True)
    shutil.copy(ROOT / "pyproject.toml", target)
    if fault is not None:
        path = target / "simgit" / fault.file
        text = path.read_text()
        assert text.count(fault.old) == 1, (
            f"'{fault.old}' is {text.count(fault.old)} times in {path}"
        )
        path.write_text(text.replace(fault.old, fault.new))


def notices(code: Path, work: Path, harness: str | tuple[str, ...]) -> bool:
    """Return whether a harness fails on a copy of the code."""
    if isinstance(harness, str):
        command = [sys.executable, "-c", HARNESS + harness, str(work)]
    else:
        command = [sys.executable, "-m", "pytest", "-x", "-q", *harness]
    env = {**os.environ, "PYTHONPATH": str(code), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=code, env=env, capture_output=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def unit(number: int, directory: Path) -> tuple[Counter[str], list[str]]:
    """Plant a fault; report it if the harness does not notice, or fails without it too."""
    fault = FAULTS[number]
    for name, planted in (("right", None), ("wrong", fault)):
        code, work = directory / name, directory / f"work-{name}"
        work.mkdir(parents=True)
        copy_code(code, planted)
        if notices(code, work, fault.harness) != (planted is not None):
            what = "was not noticed" if planted else "has a harness that fails without it"
            return Counter({"faults": 1}), [f"{fault.name}: {what}"]
        shutil.rmtree(work, ignore_errors=True)
    return Counter({"faults": 1, "noticed": 1}), []
