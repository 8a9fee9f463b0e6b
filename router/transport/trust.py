"""Whom to trust: certificate authorities, read once for all that trust the same."""

from __future__ import annotations

import os
import ssl
from threading import Lock
from weakref import WeakValueDictionary

_shared: WeakValueDictionary[tuple[object, ...], ssl.SSLContext] = WeakValueDictionary()
_lock = Lock()


def trusting(ca_file: str | None, protocol: str | None = None) -> ssl.SSLContext:
    """A context that trusts a file's authorities, or the system's; the same one for all who ask
    for the same, since each takes ten milliseconds and a megabyte. It must not be changed.

    Args:
        protocol: What is spoken (ALPN); None says nothing of it.

    Raises:
        OSError: the file can't be read, or holds no certificate.
    """
    with _lock:
        key = (ca_file, protocol, _stamp(ca_file))
        context = _shared.get(key)
        if context is None:
            context = _shared[key] = own_context(ca_file, protocol)
        return context


def own_context(ca_file: str | None, protocol: str | None = None) -> ssl.SSLContext:
    """The same, for one that adds to it."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise OSError(f"CA file {ca_file}: {error.strerror or error}") from error
    if protocol is not None:
        context.set_alpn_protocols([protocol])
    return context


def _stamp(ca_file: str | None) -> tuple[int, int] | None:
    """What tells a file from what it was before."""
    if ca_file is None:
        return None
    try:
        status = os.stat(ca_file)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
