"""Workers end with the process that started them; a fork collects garbage."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from pathlib import Path

from simgit.process import collection_paused, is_alive, writer_of

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


def test_a_child_that_is_forked_in_a_pause_collects_garbage() -> None:
    assert gc.isenabled()
    with collection_paused():
        assert not gc.isenabled()
        child = os.fork()
        if child == 0:
            os._exit(0 if gc.isenabled() else 1)
        with collection_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert gc.isenabled()
    gc.disable()
    try:
        with collection_paused():
            pass
        assert not gc.isenabled()  # as the program had it
    finally:
        gc.enable()
