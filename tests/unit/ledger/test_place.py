"""Which file systems may hold an embedded ledger."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.ledger._sqlite.place import file_system, unfit

MOUNTS = """\
overlay / overlay rw,relatime,lowerdir=/a 0 0
proc /proc proc rw 0 0
tmpfs /run tmpfs rw 0 0
/dev/sda1 /var/lib ext4 rw 0 0
server:/share /var/lib/shared\\040files nfs4 rw 0 0
tmpfs /var/lib/over tmpfs rw 0 0
/dev/sdb1 /var/lib/over xfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/ledger.db", "overlay"),
        ("/var/library/ledger.db", "overlay"),
        ("/run/router/ledger.db", "tmpfs"),
        ("/var/lib/router/ledger.db", "ext4"),
        ("/var/lib/shared files/ledger.db", "nfs4"),
        ("/var/lib/over/ledger.db", "xfs"),
    ],
)
def test_a_file_lies_on_the_last_of_the_nearest_mounts(path: str, kind: str) -> None:
    assert file_system(Path(path), MOUNTS) == kind


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "fuse.sshfs", "overlay", "tmpfs"])
def test_network_and_passing_file_systems_are_unfit(kind: str) -> None:
    assert unfit(kind) is not None


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "apfs", ""])
def test_local_disks_are_fit(kind: str) -> None:
    assert unfit(kind) is None
