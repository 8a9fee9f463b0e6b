"""Which failures are the server's."""

from __future__ import annotations

import pytest

from router.ledger._postgres import connection as postgres
from router.ledger._redis import store as redis


@pytest.mark.parametrize("is_outage", [postgres.is_outage, redis.is_outage])
def test_a_write_to_a_connection_that_was_reset_is_an_outage_under_uvloop_too(is_outage) -> None:
    text = "unable to perform operation on <TCPTransport closed=True>; the handler is closed"
    assert is_outage(RuntimeError(text))
    assert is_outage(ConnectionResetError())
    assert not is_outage(RuntimeError("a bug"))
    assert not is_outage(KeyError("a bug"))
