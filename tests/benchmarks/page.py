"""A Markdown page of which each command owns one section, marked by comments."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

TITLE = """\
# Performance

After this page you know how fast simgit is, how much it stores, and how both grow with the size of
a repository.
"""


def put(path: Path, section: str, text: str) -> None:
    """Write a section of the page, leaving the others as they are."""
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    block = f"{begin}\n{text.strip()}\n{end}"
    page = path.read_text(encoding="utf-8") if path.exists() else TITLE
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if pattern.search(page):
        page = pattern.sub(lambda _: block, page)
    else:
        page = page.rstrip() + "\n\n" + block + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def machine() -> list[str]:
    """Say what the figures were measured on and with."""
    return [f"{_processor()}; {platform.system()} {platform.machine()}", ", ".join(_versions())]


def command() -> str:
    """Return the command that is running."""
    return " ".join(["python", "tests/benchmarks", *sys.argv[1:]])


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    names = re.findall(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return f"{len(names)} × {names[0]}" if names else platform.processor()


def _versions() -> list[str]:
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=False).stdout
    found = [f"Python {platform.python_version()}", git.replace("version ", "").strip()]
    for package in ("simgit", "lmdb", "zstandard", "blake3", "numpy"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return found
