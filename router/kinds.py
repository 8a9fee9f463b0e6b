"""Finds components by the ``type:`` in configuration: one module a kind, plugins by entry point."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any


class UnknownKind(LookupError):
    """No built-in module and no installed plugin has that name."""


class BrokenPlugin(ImportError):
    """A plugin is installed under that name and can't be used; the message says whose and why."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point that an installed distribution offers.

    Attributes:
        value: What it names: ``module:attribute``.
        distribution: The distribution's name and version, as ``acme-router-sms 1.2``.
    """

    name: str
    value: str
    distribution: str

    def __str__(self) -> str:
        return f"{self.value} of {self.distribution}"


@dataclass(frozen=True, slots=True)
class Plugins:
    """What installed distributions add to one part of the router.

    Attributes:
        group: The entry-point group, such as ``router.sinks``.
        mistake: What keeps an export from being used under a name, or None.
    """

    group: str
    mistake: Callable[[str, Any], str | None]

    def installed(self) -> list[Plugin]:
        """Every entry point of the group by name; imports nothing."""
        found = [_described(point) for point in entry_points(group=self.group)]
        return sorted(found, key=lambda plugin: (plugin.name, plugin.distribution))

    def names(self) -> list[str]:
        return list(dict.fromkeys(plugin.name for plugin in self.installed()))

    def load(self, name: str) -> Any:
        """What the plugin of that name exports.

        Raises:
            UnknownKind: none has that name.
            BrokenPlugin: it can't be imported, exports something else, or two share the name.
        """
        points = tuple(entry_points(group=self.group, name=name))
        if not points:
            raise UnknownKind(name)
        owners = sorted({str(_described(point)) for point in points})
        if len(owners) > 1:
            raise BrokenPlugin(f"two plugins have this name: {' and '.join(owners)}")
        try:
            found = points[0].load()
        except Exception as error:
            raise BrokenPlugin(f"plugin {owners[0]}: {_told(error)}") from error
        if wrong := self.mistake(name, found):
            raise BrokenPlugin(f"plugin {owners[0]} {wrong}")
        return found


@dataclass(frozen=True, slots=True)
class Kinds:
    """The component kinds of one package, such as ``router.sinks``.

    Attributes:
        package: The package whose modules are kinds (a leading underscore marks shared ground).
        attribute: What such a module exports.
        plugins: Further kinds, looked at only for names that are not built in.
    """

    package: str
    attribute: str
    plugins: Plugins | None = None

    def names(self) -> list[str]:
        """Built-in kinds, sorted; reads no module."""
        return list(_modules(self.package))

    def all_names(self) -> list[str]:
        """Built-in kinds and those of installed plugins, sorted."""
        return sorted({*_modules(self.package), *(self.plugins.names() if self.plugins else ())})

    def usable(self) -> list[str]:
        """Kinds that can be imported, sorted: not those whose extra is not installed."""
        return [name for name in self.all_names() if self._can_load(name)]

    def _can_load(self, name: str) -> bool:
        try:
            self.load(name)
        except ImportError:
            return False
        return True

    def is_built_in(self, name: str) -> bool:
        return name in _modules(self.package)

    def load(self, name: str) -> Any:
        """The export of a kind's module, or of a plugin's.

        Raises:
            UnknownKind: there is none of that name.
            BrokenPlugin: a plugin of that name can't be used.
            ImportError: the built-in kind needs a library that is not installed.
        """
        if self.is_built_in(name):
            return getattr(importlib.import_module(f"{self.package}.{name}"), self.attribute)
        if self.plugins is None:
            raise UnknownKind(name)
        return self.plugins.load(name)


@cache
def _modules(package: str) -> tuple[str, ...]:
    path = importlib.import_module(package).__path__
    return tuple(sorted(m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_")))


def _described(point: EntryPoint) -> Plugin:
    owner = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"
    return Plugin(point.name, point.value, owner)


def _told(error: Exception) -> str:
    """An exception in one line."""
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
