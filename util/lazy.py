"""Modules that take seconds to import, imported where they are first used: --help and faults of flags do not wait for them."""
from __future__ import annotations

from importlib import import_module
from types import ModuleType


class LazyModule(ModuleType):
    """Stands for a module, as in `torch = LazyModule("torch")`: the first attribute that is asked for imports it."""

    def __getattr__(self, name):
        return getattr(import_module(self.__name__), name)
