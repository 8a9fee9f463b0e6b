"""Where the file may lie and who may have it: file systems, and one owner at a time."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from router.problems import ConfigError, Problem

_NETWORK = frozenset(
    {"9p", "afs", "ceph", "cifs", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "smbfs", "virtiofs"}
)
_VOLATILE = frozenset({"aufs", "overlay", "ramfs", "tmpfs"})
_MOUNTS = Path("/proc/self/mounts")


def check_file_system(path: Path) -> None:
    """Refuses places that lose the file with the container or can't lock it.

    Raises:
        ConfigError: E305, the file system is networked, an overlay or in memory.
    """
    if not _MOUNTS.exists():
        return
    kind = file_system(path.resolve(), _MOUNTS.read_text(errors="surrogateescape"))
    why = unfit(kind)
    if why is not None:
        raise config_error(
            "E305",
            f"ledger.path: {path} lies on a {kind} file system, {why}; choose a local disk or a "
            f"persistent volume, or set ledger.ephemeral: true to accept it",
        )


def file_system(path: Path, mounts: str) -> str:
    """The type of the file system that holds ``path``, by a text like ``/proc/mounts``."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(fields[1].replace("\\040", " "))
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return kind


def unfit(kind: str) -> str | None:
    """Why a ledger can't be kept on this type of file system; None where it can."""
    if kind in _NETWORK or (kind.startswith("fuse.") and kind != "fuse.fuse-overlayfs"):
        return "where SQLite's locks can't be trusted"
    if kind in _VOLATILE or kind == "fuse.fuse-overlayfs":
        return "which is lost with the container or at a restart"
    return None


@contextmanager
def exclusive(path: Path, owner: str) -> Generator[None]:
    """Holds the lock file beside the database: nobody else writes while the block runs.

    The kernel gives the lock back when its process dies, so whoever gets it knows that the
    earlier owner is dead.

    Raises:
        ConfigError: E306, another process has it; E304, the lock file can't be made.
    """
    lock = path.with_name(path.name + ".lock")
    try:
        file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unusable(path, error) from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(file, 1000).decode(errors="replace").strip() or "another process"
            raise config_error(
                "E306",
                f"ledger.path: {path} is in use by {holder}; an embedded ledger has one owner, "
                f"so stop that process or give this one its own file",
            ) from error
        os.ftruncate(file, 0)
        os.write(file, f"{owner} (pid {os.getpid()} on {socket.gethostname()})\n".encode())
        yield
    finally:
        os.close(file)


def create(path: Path) -> None:
    """Makes the file, readable by its owner alone, and the folders above it.

    Raises:
        ConfigError: E304, it can't be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise unusable(path, error) from error


def unusable(path: Path, error: OSError) -> ConfigError:
    return config_error("E304", f"ledger.path: can't use {path}: {error.strerror or error}")


def config_error(code: str, message: str) -> ConfigError:
    return ConfigError([Problem(code, message)])
