"""Bundles of recorded environments as tests: every run is re-executed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from simgit.errors import EnvironmentChanged, InvalidInput, Untrusted
from simgit.integrations.golden.differences import Place, changed_versions, golden_divergence
from simgit.integrations.golden.file import MAX_OBJECT
from simgit.remotes.bundle import read_manifest
from simgit.remotes.bundle.files import reading
from simgit.repository import Repository


def bundled_runs(path: Path) -> list[str]:
    """Return the names of the runs of a bundle; only its beginning is read.

    Raises:
        IntegrityError: it is not a bundle, or damaged.
        InvalidInput: it has no runs.
    """
    with reading(path) as read:
        names = sorted(read_manifest(read).runs)
    if not names:
        raise InvalidInput(f"bundle '{path}' has no runs to re-execute")
    return names


def check_bundled(path: Path, run: str) -> None:
    """Re-execute a run of a bundle, whose environment has to be registered, and compare it.

    Raises:
        Divergence: a state differs; ``report`` has the lines that show it.
        IntegrityError: the bundle is damaged.
        InvalidInput: it was not recorded from an environment that is registered here.
    """
    from simgit.gym.restoring.verify import verify
    from simgit.gym.spec.provenance import versions

    with closing(Repository.init(":memory:")) as repo:
        repo.import_bundle(path, max_object=MAX_OBJECT)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", EnvironmentChanged)
                found = verify(repo, run, trust=False, snapshots=0)
        except Untrusted:
            raise InvalidInput(
                f"the environment of '{run}' in '{path.name}' is not registered here: register it "
                "in conftest.py, or pass it to the fixture simgit_golden"
            ) from None
        if found.divergence is None:
            return
        facts = repo.runs[run].metadata.get("provenance")
        known = facts.get("versions") if isinstance(facts, Mapping) else None
        now = {name: each for name, each in versions().items() if name in (known or ())}
        changed = changed_versions(known, now)
        states, place = repo.trajectory(run), Place.of(found.divergence)
        raise golden_divergence(path.name, f"differs in run '{run}'", states, place, changed)
