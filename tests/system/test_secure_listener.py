"""The daemon against a broker that demands TLS and SASL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from router.ledger import State
from router.sandbox import answer, sandbox
from tests.brokers import PASSWORD, USER, Broker, SecureListener
from tests.system.place import Place, orders_of
from tests.system.processes import daemon
from tests.system.projects import Env, secrets_of
from tests.system.topics import order

pytestmark = [pytest.mark.anyio, pytest.mark.kafka]


def _secure(listener: SecureListener, **sasl: Any) -> dict[str, Any]:
    credentials = {"username": USER, "password": Env("KAFKA_PASSWORD")}
    return {
        "bootstrap": listener.bootstrap,
        "tls": {"ca_file": str(listener.ca_file)},
        "sasl": {"mechanism": "SCRAM-SHA-512"} | credentials | sasl,
    }


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"])
async def test_everything_works_over_scram_and_tls(
    secure_listener: SecureListener,
    brokers: Callable[[str], Broker],
    unique: Callable[[str], str],
    tmp_path: Path,
    mechanism: str,
) -> None:
    place = Place(brokers("apache"), unique("orders"), unique("router"), tmp_path)
    await place.create()
    async with sandbox() as box:
        project = place.project(
            box,
            source=_secure(secure_listener, mechanism=mechanism),
            env=secrets_of(box) | {"KAFKA_PASSWORD": PASSWORD},
        )
        box.http.faults.plan("/orders/o-2", always=answer(400))
        await place.publish([order(1), order(2)])
        async with daemon(project) as running:
            await place.commits(2)
            (letter,) = await place.dead_letters(1)
            assert letter.value == order(2)
            assert PASSWORD not in running.output
        assert orders_of(list(box.record)) == ["o-1"]
    assert await place.states(project) == {State.DELIVERED: 1, State.DEAD: 1}


async def test_a_wrong_password_is_said_and_does_not_end_the_daemon(
    secure_listener: SecureListener,
    brokers: Callable[[str], Broker],
    unique: Callable[[str], str],
    tmp_path: Path,
) -> None:
    place = Place(brokers("apache"), unique("orders"), unique("router"), tmp_path)
    wrong = "not-the-password-4711"
    async with sandbox() as box:
        project = place.project(
            box,
            source=_secure(secure_listener),
            env=secrets_of(box) | {"KAFKA_PASSWORD": wrong},
        )
        async with daemon(project, is_ready=False) as running:
            await running.says("(?i)authentication failed|invalid credentials")
            assert (await running.get("/-/healthy"))[0] == 200
            assert (await running.get("/-/ready"))[0] == 503
            assert wrong not in running.output
            assert await running.stop() == 0
