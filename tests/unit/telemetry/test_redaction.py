"""Secrets and people stay out of what is written."""

from dataclasses import dataclass

from pydantic import BaseModel

from router.telemetry import RecipientHash, Redactor, people_hash, secrets_in
from router.values import Secret


class Auth(BaseModel):
    user: str
    password: Secret


class Model(BaseModel):
    auth: Auth
    more: list[Secret]


@dataclass(frozen=True)
class Holder:
    sinks: dict[str, Model]


def test_a_recipient_has_the_same_hash_under_one_key_and_another_under_another() -> None:
    one, other = RecipientHash(b"one"), RecipientHash(b"other")
    assert one("u-1") == RecipientHash(b"one")("u-1")
    assert one("u-1") != one("u-2")
    assert one("u-1") != other("u-1")
    assert len(one("u-1")) == 16


def test_secrets_are_found_deep_inside_configuration() -> None:
    model = Model(auth=Auth(user="u", password=Secret("first")), more=[Secret("second")])
    found = {s.reveal() for s in secrets_in(Holder({"mail": model}))}
    assert found == {"first", "second"}


def test_a_longer_secret_is_scrubbed_whole_although_a_shorter_one_is_part_of_it() -> None:
    redactor = Redactor([Secret("tokens"), Secret("tokens-of-life")])
    assert redactor.text("x tokens-of-life y tokens z") == "x *** y *** z"


def test_secrets_that_were_not_read_or_are_very_short_blot_out_nothing() -> None:
    redactor = Redactor([Secret(None), Secret("mail")])
    assert redactor.text("the mail sink") == "the mail sink"


def test_values_become_json_ready() -> None:
    redactor = Redactor([Secret("sesame-open")])
    shown = redactor.fields({"a": (1, None, b"xyz"), "password": "p", "b": {"c": "sesame-open"}})
    assert shown == {"a": [1, None, "<3 bytes>"], "password": "***", "b": {"c": "***"}}


def test_a_recipient_field_shows_a_hash_once() -> None:
    redactor = Redactor()
    hashed = redactor.fields({"recipient": "u-1"})["recipient"]
    assert hashed != "u-1"
    assert redactor.fields({"recipient": hashed})["recipient"] == hashed


def test_a_configured_key_gives_each_process_the_same_hash_of_a_person() -> None:
    shown = [
        Redactor(people=people_hash(Secret("k"))).fields({"recipient": "u-1"}) for _ in range(2)
    ]
    assert shown[0] == shown[1] == {"recipient": RecipientHash(b"k")("u-1")}
    assert Redactor(people=people_hash(None)).fields({"recipient": "u-1"}) != shown[0]
