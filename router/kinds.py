"""Finds components by the ``type:`` in configuration: one module a kind, plugins by entry point."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any


class UnknownKind(LookupError):
    """No built-in module and no installed plugin has that name."""


@dataclass(frozen=True, slots=True)
class Kinds:
    """The component kinds of one package, such as ``router.sinks``.

    Attributes:
        package: The package whose modules are kinds (a leading underscore marks shared ground);
            also the entry-point group that plugins use.
        attribute: What such a module exports.
    """

    package: str
    attribute: str

    def names(self) -> list[str]:
        """Built-in kinds, sorted; reads no module."""
        return list(_modules(self.package))

    def load(self, name: str) -> Any:
        """The export of a kind's module.

        Entry points are scanned only when the name is not built in.

        Raises:
            UnknownKind: there is none of that name.
        """
        if name in _modules(self.package):
            return getattr(importlib.import_module(f"{self.package}.{name}"), self.attribute)
        for point in entry_points(group=self.package, name=name):
            return point.load()
        raise UnknownKind(name)


@cache
def _modules(package: str) -> tuple[str, ...]:
    path = importlib.import_module(package).__path__
    return tuple(sorted(m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_")))
