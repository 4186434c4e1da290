"""Importing slow modules on first use, so that --help and errors in flags do not wait for them."""
from __future__ import annotations

from importlib import import_module
from types import ModuleType


class LazyModule(ModuleType):
    """A proxy of a module, as in `torch = LazyModule("torch")`: the first access to an attribute imports it."""

    def __getattr__(self, name):
        return getattr(import_module(self.__name__), name)
