"""NumPy, imported when it is first used: what keeps the books of a repository needs no array.

For the modules that every command loads. ``np`` is ``numpy`` to a reader and to a type checker; at
run time it is empty until a name of it is asked for, and then has all of them at numpy's own cost.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["is_loaded", "np"]


def is_loaded() -> bool:
    """Return False as long as no value of this process can be an array or a NumPy scalar."""
    return "numpy" in sys.modules


if TYPE_CHECKING:
    import numpy as np
else:

    class _Unloaded(ModuleType):
        def __getattr__(self, name: str) -> Any:
            import numpy

            def added_since(name: str) -> Any:  # numpy imports some of its parts late, too
                value = vars(self)[name] = getattr(numpy, name)
                return value

            vars(self).update(vars(numpy), __getattr__=added_since)
            self.__class__ = ModuleType  # whose attributes the interpreter finds fastest
            return getattr(numpy, name)

    np = _Unloaded("numpy")
