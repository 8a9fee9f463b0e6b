"""What an operator writes about a cluster."""

from typing import Any

import pytest
from pydantic import ValidationError

from router.kafka import KafkaConnection


def connection(**fields: Any) -> KafkaConnection:
    return KafkaConnection.model_validate({"bootstrap": "kafka:9092"} | fields)


SASL = {"mechanism": "PLAIN", "username": "router", "password": "s3cret"}


@pytest.mark.parametrize("servers", ["a:1, b:2", ["a:1", "b:2"], "a:1,b:2"])
def test_servers_are_a_list_or_text(servers: object):
    assert connection(bootstrap=servers).client_options()["bootstrap_servers"] == ["a:1", "b:2"]


@pytest.mark.parametrize("servers", ["", [], "a:1,,b:2", "kafka://a:1", 5, [5], "a:x", None])
def test_what_is_no_server_is_refused(servers: object):
    with pytest.raises(ValidationError, match="write kafka-1:9092"):
        connection(bootstrap=servers)


@pytest.mark.parametrize(
    ("fields", "protocol"),
    [
        ({}, "PLAINTEXT"),
        ({"tls": {}}, "SSL"),
        ({"sasl": SASL}, "SASL_PLAINTEXT"),
        ({"tls": {}, "sasl": SASL}, "SASL_SSL"),
    ],
)
def test_security_follows_from_what_is_given(fields: dict[str, Any], protocol: str):
    options = connection(**fields).client_options()
    assert options["security_protocol"] == protocol
    assert ("ssl_context" in options) == ("tls" in fields)
    assert options.get("sasl_plain_password") == ("s3cret" if "sasl" in fields else None)


def test_the_password_never_shows():
    opened = connection(sasl=SASL)
    assert "s3cret" not in repr(opened) + str(opened.model_dump()) + opened.model_dump_json()


def test_certificates_are_checked_unless_told_otherwise():
    strict = connection(tls={}).client_options()["ssl_context"]
    lax = connection(tls={"verify": False}).client_options()["ssl_context"]
    assert (strict.check_hostname, lax.check_hostname) == (True, False)


def test_a_key_without_its_certificate_is_refused():
    with pytest.raises(ValidationError, match="without cert_file"):
        connection(tls={"key_file": "k.pem"})


def test_unknown_keys_and_mechanisms_are_refused():
    with pytest.raises(ValidationError):
        connection(protocol="SSL")
    with pytest.raises(ValidationError):
        connection(sasl=SASL | {"mechanism": "GSSAPI"})
