"""The provenance of a run: versions, machine, command line, commit and diff of the user's code."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from blake3 import blake3

from simgit.gym.spec.masking import mask_arguments, mask_text, mask_values

PACKAGES: Final = {
    "simgit": "simgit", "gymnasium": "gymnasium", "numpy": "numpy", "torch": "torch", "jax": "jax",
    "jaxlib": "jaxlib", "mujoco": "mujoco", "ale_py": "ale-py", "Box2D": "box2d",
    "minigrid": "minigrid", "stable_baselines3": "stable-baselines3", "scipy": "scipy",
}  # fmt: skip
"""Modules on whose version the numbers of a run may depend, with their distributions."""
MAX_DIFF: Final = 256 << 10
"""Bytes of a diff that are recorded at most."""
MAX_COMMAND: Final = 8 << 10
CLUSTER: Final = "cluster"
"""The key of a run's metadata for the facts of its live cluster: versions, nodes, hashes."""
_PACKAGE: Final = Path(__file__).resolve().parents[2]
_GIT_SECONDS: Final = 5
_GIT_SETTINGS: Final = (
    "core.fsmonitor=false", f"core.hooksPath={os.devnull}", "submodule.recurse=false",
)  # fmt: skip
_GIT_ENVIRONMENT: Final = {
    "GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0",
}  # fmt: skip
"""No object that is missing is fetched: a partial clone names the command that does it."""


@dataclass(frozen=True)
class Provenance:
    """The provenance of a run: plain facts, and the diff of the user's code to its commit."""

    facts: dict[str, Any]
    diff: str | None

    @classmethod
    def collect(cls, *modules: str, arguments: Sequence[str] | None = None) -> Provenance:
        """Collect the facts of this process and machine; what cannot be found out is left out.

        What looks like a secret is masked everywhere.

        Args:
            modules: further top-level modules whose versions matter, such as the environment's.
            arguments: a command line that takes the place of this process's.
        """
        code = code_of(_script_folder(sys.argv[:1] if arguments is None else arguments))
        facts = {
            "versions": versions(*modules),
            "machine": machine(),
            "command": command(arguments),
            **({"threads": threads} if (threads := torch_threads()) else {}),
            **({"code": code.facts} if code else {}),
        }
        return cls(mask_values(facts), code.diff if code else None)


@dataclass(frozen=True)
class Code:
    """The commit of the user's code, and how the files differ from it."""

    facts: dict[str, Any]
    diff: str | None


def versions(*modules: str) -> dict[str, str]:
    """Return the versions of Python and of the packages that are loaded and matter."""
    found = {"python": platform.python_version()}
    for module in (*PACKAGES, *modules):
        if module in sys.modules and (version := _version(module)):
            found[PACKAGES.get(module, module)] = version
    return found


@cache
def _version(module: str) -> str | None:
    try:
        return metadata.version(PACKAGES.get(module, module))
    except metadata.PackageNotFoundError:
        version = getattr(sys.modules[module], "__version__", None)
        return None if version is None else str(version)


def machine() -> dict[str, Any]:
    """Return the facts of the machine on which bits of floating-point results may depend."""
    cpu = _cpu()
    flags = " ".join(sorted(cpu.get("flags", "").split()))
    return {
        "host": platform.node(),
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "libc": " ".join(platform.libc_ver()),
        "cpu": cpu.get("model name") or platform.processor(),
        "cpus": os.cpu_count(),
        "features": blake3(flags.encode()).hexdigest(8),
    }


def _cpu() -> dict[str, str]:
    """Return the first processor's entry of /proc/cpuinfo, or nothing where it does not exist."""
    try:
        text = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def torch_threads() -> dict[str, Any] | None:
    """Return the torch settings on which results depend; None if torch is not loaded."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return None
    return {
        "torch": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def command(arguments: Sequence[str] | None = None) -> list[str]:
    """Return a command line (this process's), its secrets masked, cut at ``MAX_COMMAND``."""
    masked = mask_arguments(sys.orig_argv if arguments is None else arguments)
    kept: list[str] = []
    size = 0
    for argument in masked:
        size += len(argument)
        if size > MAX_COMMAND:
            return [*kept, "…"]
        kept.append(argument)
    return kept


def _script_folder(arguments: Sequence[str]) -> Path:
    """Return the folder of the first file among the first words of a command, else this one.

    simgit's own command is no code of the user's, wherever it is installed.
    """
    scripts = (Path(word) for word in arguments[:3] if word)
    found = next((script for script in scripts if script.is_file()), None)
    is_own = found is not None and (found.name == "simgit" or found.resolve().parent == _PACKAGE)
    return Path.cwd() if found is None or is_own else found.resolve().parent


def code_of(folder: Path) -> Code | None:
    """Return commit and diff of the git work tree around a folder; None outside of one.

    The diff is against the commit, secrets masked, cut at ``MAX_DIFF`` bytes.
    """
    found = _git(folder, "rev-parse", "HEAD", "--show-toplevel")
    if found is None:
        return None
    commit, _, top = found.rstrip("\n").partition("\n")
    if not folder.resolve().is_relative_to(Path(top).resolve()):
        return None  # its configuration names a work tree elsewhere
    filters = _no_filters(folder)
    if filters is None:
        return Code({"commit": commit}, None)
    diff = _git(
        folder, "diff", "HEAD", "--no-color", "--no-ext-diff", "--no-textconv",
        "--ignore-submodules=dirty", "--submodule=short", settings=filters,
    )  # fmt: skip
    untracked = _git(folder, "ls-files", "--others", "--exclude-standard", "--", "*.py")
    facts: dict[str, Any] = {"commit": commit, "changed": bool(diff)}
    if untracked:
        facts["untracked"] = untracked.splitlines()[:100]
    return Code(facts, mask_text(_cut(diff)) if diff else None)


def _cut(diff: str) -> str:
    raw = diff.encode(errors="replace")
    if len(raw) <= MAX_DIFF:
        return raw.decode()
    kept = raw[: raw.rfind(b"\n", 0, MAX_DIFF) + 1].decode().rstrip("\n")  # no part of a secret
    return f"{kept}\n… {len(raw) - len(kept.encode())} more bytes are left out\n"


def _no_filters(folder: Path) -> list[str] | None:
    """Return the settings that disable every configured filter; None if a name prevents that.

    The attributes of any file may name a filter of the configuration, which git executes to compare
    the file. Git has no option against that.
    """
    listed = _git(folder, "config", "--list", "--name-only", "-z", "--includes")
    if listed is None:
        return None
    filters = {key.rpartition(".")[0] for key in listed.split("\0") if key.startswith("filter.")}
    if any("=" in name or "\n" in name for name in filters):
        return None
    off = ("clean=", "smudge=", "process=", "required=false")
    return [f"{name}.{setting}" for name in sorted(filters) for setting in off]


def _git(folder: Path, *arguments: str, settings: Sequence[str] = ()) -> str | None:
    """Return the output of a git command; None without git or without a repository.

    Git executes no other program: the configuration may be a stranger's.
    """
    options = [each for setting in (*_GIT_SETTINGS, *settings) for each in ("-c", setting)]
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "--no-pager", *options, *arguments],
            cwd=folder, capture_output=True, stdin=subprocess.DEVNULL, timeout=_GIT_SECONDS,
            check=False, env={**os.environ, **_GIT_ENVIRONMENT},
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
