"""Workers end with the process that started them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from simgit.process import is_alive, writer_of

SCRIPT = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from simgit.process import end_with_parent

if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=end_with_parent) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        time.sleep(600)
"""


def test_a_worker_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        worker = writer_of(int(parent.stdout.readline()))
        assert is_alive(worker)
        parent.kill()
    while is_alive(worker):
        time.sleep(0.01)
