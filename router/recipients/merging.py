"""One recipient from what a route gives and what the directory knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.recipients.endpoints import read_endpoints
from router.recipients.model import Device, Recipient

_TEXTS = ("id", "email", "name", "locale", "timezone", "telegram", "max")
_STRUCTURED = ("devices", "preferences", "endpoints")


def merge(from_route: Mapping[str, Any], profile: Recipient | None) -> Recipient:
    """The recipient, fields of the route over those of the profile.

    Nulls and empty texts give nothing, so the profile's value stays. Whole numbers become text
    where text is meant. Fields that a recipient doesn't have become attributes, as they are.
    Without an id the first address serves as one.
    """
    base = profile or Recipient("")
    texts = {name: _text(from_route.get(name)) or getattr(base, name) for name in _TEXTS}
    if texts["locale"]:
        texts["locale"] = texts["locale"].replace("_", "-")
    devices = read_devices(from_route.get("devices")) or base.devices
    first_token = devices[0].token if devices else ""
    texts["id"] = texts["id"] or texts["email"] or texts["telegram"] or texts["max"] or first_token
    extra = {
        name: value
        for name, value in from_route.items()
        if name not in _TEXTS and name not in _STRUCTURED and value is not None
    }
    return Recipient(
        **texts,
        devices=devices,
        attributes={**base.attributes, **extra},
        preferences={**base.preferences, **_preferences(from_route.get("preferences"))},
        endpoints=read_endpoints(from_route.get("endpoints"), from_event=True) or base.endpoints,
    )


def read_devices(value: Any) -> tuple[Device, ...]:
    """Devices from a list of tokens or of maps with ``token`` and what else is known.

    ``id`` is the token where none is given, ``platform`` empty where unknown; entries without a
    token are left out.
    """
    if isinstance(value, str | Mapping):
        value = [value]
    if not isinstance(value, list | tuple):
        return ()
    devices = [_device(entry) for entry in value]
    return tuple(device for device in devices if device is not None)


def _device(entry: Any) -> Device | None:
    if isinstance(entry, Device):
        return entry
    fields: Mapping[str, Any] = entry if isinstance(entry, Mapping) else {"token": entry}
    token = _text(fields.get("token"))
    if not token:
        return None
    registered_at = fields.get("registered_at")
    is_number = isinstance(registered_at, int | float) and not isinstance(registered_at, bool)
    return Device(
        id=_text(fields.get("id")) or token,
        token=token,
        platform=(_text(fields.get("platform")) or "").lower(),
        app=_text(fields.get("app")),
        environment=_text(fields.get("environment")),
        registered_at=float(registered_at) if is_number else None,  # pyright: ignore[reportArgumentType]
        locale=_text(fields.get("locale")),
    )


def _preferences(value: Any) -> dict[str, bool]:
    if not isinstance(value, Mapping):
        return {}
    return {str(key): wanted for key, wanted in value.items() if isinstance(wanted, bool)}


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None
