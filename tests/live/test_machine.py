"""The usage of the machine, with and without what tells of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from simgit.live import usage


def test_it_tells_what_the_system_does(tmp_path: Path) -> None:
    found = usage.machine(tmp_path)
    assert found["cpu"]["count"] == os.cpu_count()
    assert 0 <= found["cpu"]["percent"] <= 100
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024  # MemTotal, in KiB
    memory, disk = found["memory"], found["disk"]
    assert memory["total"] == total
    assert 0 < memory["used"] == total - memory["free"] < total
    assert disk["total"] == shutil.disk_usage(tmp_path).total
    assert usage.machine(None)["disk"] is None


def test_nothing_is_missed_without_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "psutil", None)
    monkeypatch.setattr(usage, "pynvml", None)
    found = usage.machine(None)
    assert (found["memory"], found["cpu"]["percent"], found["gpus"]) == (None, None, [])


def test_processors_that_are_busy_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([(10.0, 100.0), (10.0, 100.0), (13.0, 104.0), (13.0, 104.0)])
    monkeypatch.setattr(usage, "_before", [])
    monkeypatch.setattr(usage, "_busy", lambda: next(times))
    found = [usage.machine(None)["cpu"]["percent"] for _ in range(3)]
    assert found == [0.0, 75.0, 75.0]  # the last time no time has passed


class _Driver(SimpleNamespace):
    """What nvidia-ml-py offers, of a machine with two processors, one of which does not tell."""

    class NVMLError(Exception):
        pass

    def nvmlDeviceGetUtilizationRates(self, one: int) -> Any:  # noqa: N802
        if one:
            raise self.NVMLError("not supported")
        return SimpleNamespace(gpu=40)


def test_graphics_processors_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = _Driver(
        nvmlInit=lambda: None, nvmlDeviceGetCount=lambda: 2, nvmlDeviceGetName=lambda one: b"H200" if one else "A100",
        nvmlDeviceGetHandleByIndex=lambda one: one, nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(total=8, used=3, free=5),
    )  # fmt: skip
    monkeypatch.setattr(usage, "pynvml", driver)
    memory = {"total": 8, "used": 3, "free": 5}
    assert usage.machine(None)["gpus"] == [
        {"name": "A100", "percent": 40.0, "memory": memory},
        {"name": "H200", "percent": None, "memory": memory},
    ]

    def fails() -> None:
        raise driver.NVMLError("no driver")

    driver.nvmlInit = fails
    assert usage.machine(None)["gpus"] == []
