"""Registers the environments as soon as both simgit and Gymnasium are imported, in either order.

``gymnasium.make("simgit:simgit/SimKube-v0")`` imports simgit, which announces itself here. Where
simgit was imported first, that import does nothing any more: so a finder waits for Gymnasium,
and is gone once it has come. Nothing is loaded for it before.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

_PACKAGE: Final = "gymnasium"


def announce() -> None:
    """Register the ids now, or when Gymnasium is imported; doing it twice is fine."""
    if sys.modules.get(_PACKAGE) is not None:
        _register()
    elif not any(isinstance(finder, _Waiting) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Waiting())


def _register() -> None:
    from simgit.gym.registration import register

    register()


class _Waiting:
    """Finds only Gymnasium, once, and only to hear that it was loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _PACKAGE:
            return None
        from importlib.util import find_spec

        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Registering(spec.loader)  # type: ignore[assignment]
        return spec


class _Registering:
    """Loads a module as its own loader does, then registers the ids."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _register()
