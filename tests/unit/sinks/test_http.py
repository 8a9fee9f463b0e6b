"""HTTP: how a request is put together, and what every answer means, by default and by rule."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from router.messages import Delivered, Halt, Rejected, Retry, Scope
from router.sinks._answers import AnswerRule, Answers
from router.sinks._credentials import signed
from router.sinks._oauth2 import OAuth2Auth, token_of, token_request
from router.sinks.http import HttpConfig, outcome, request
from router.transport import HttpRequest, HttpResponse
from tests.unit.sinks.builders import KEY, NOW, answer, call, config, kind


def built(changes: dict[str, Any] | None = None, **message: Any) -> HttpRequest:
    result = request(config(HttpConfig, **(changes or {})), call(**message))
    assert isinstance(result, HttpRequest), result
    return result


class TestRequest:
    @pytest.mark.parametrize(
        ("path", "query", "url"),
        [
            ("", (), "https://crm.example/api"),
            ("/notes", (), "https://crm.example/api/notes"),
            ("notes", (), "https://crm.example/api/notes"),
            ("/a%2F..%2Fb", (), "https://crm.example/api/a%2F..%2Fb"),
            ("/a", (("q", "1 & 2"), ("q", "я")), "https://crm.example/api/a?q=1+%26+2&q=%D1%8F"),
            ("/a?x=1", (("y", "2"),), "https://crm.example/api/a?x=1&y=2"),
            ("//evil.example/", (), "https://crm.example/api//evil.example/"),
            ("@evil.example/", (), "https://crm.example/api/@evil.example/"),
        ],
    )
    def test_the_path_is_appended_to_the_base(
        self, path: str, query: tuple[tuple[str, str], ...], url: str
    ) -> None:
        assert built(path=path, query=query).url == url

    @pytest.mark.parametrize(
        "path",
        ["/../admin", "/a/../../b", "/%2e%2e/b", "/%2E./b", "/./a", "/a b", "/a\r\nX: y", "/a#b",
         "/a\\b"],
    )  # fmt: skip
    def test_a_path_that_leaves_the_base_is_rejected(self, path: str) -> None:
        result = request(config(HttpConfig), call(path=path))
        assert isinstance(result, Rejected)
        assert result.reason.code == "path_unsafe"

    @given(st.text(max_size=30))
    def test_no_path_changes_the_host(self, path: str) -> None:
        result = request(config(HttpConfig), call(path=path))
        assert isinstance(result, Rejected) or result.url.startswith("https://crm.example/api")

    def test_headers_of_configuration_message_and_router(self) -> None:
        request = built(
            {"headers": {"X-Source": "router"}, "idempotency_header": "Idempotency-Key"},
            headers=(("X-Note", "1"), ("Authorization", "forged"), ("host", "evil")),
        )
        assert request.headers == {
            "X-Source": "router",
            "X-Note": "1",
            "Content-Type": "application/json",
            "Idempotency-Key": KEY.hex(),
            "X-Request-Id": KEY.hex(),
        }

    def test_a_request_without_a_body_has_no_content_type(self) -> None:
        request = built(method="DELETE", body=None)
        assert (request.method, request.body) == ("DELETE", None)
        assert dict(request.headers) == {"X-Request-Id": KEY.hex()}


DEFAULTS: list[tuple[HttpResponse, tuple[Any, ...]]] = [
    (answer(200), (Delivered, None)),
    (answer(201, {"id": 1}), (Delivered, None)),
    (answer(204), (Delivered, None)),
    (answer(301), (Rejected, "redirected", False)),
    (answer(400), (Rejected, "refused", False)),
    (answer(401), (Halt, "credentials_refused")),
    (answer(403), (Halt, "forbidden")),
    (answer(404), (Rejected, "refused", False)),
    (answer(408), (Retry, "provider_error", None, Scope.MESSAGE)),
    (answer(409), (Rejected, "refused", False)),
    (answer(410), (Rejected, "refused", False)),
    (answer(425), (Retry, "provider_error", None, Scope.MESSAGE)),
    (answer(429), (Retry, "rate_limited", 60, Scope.ENDPOINT)),
    (answer(429, retry_after="3"), (Retry, "rate_limited", 3, Scope.ENDPOINT)),
    (answer(500), (Retry, "provider_error", None, Scope.MESSAGE)),
    (answer(502, b"<html>"), (Retry, "provider_error", None, Scope.MESSAGE)),
    (answer(503, retry_after="3"), (Retry, "provider_error", 3, Scope.ENDPOINT)),
]


@pytest.mark.parametrize(("response", "expected"), DEFAULTS, ids=lambda v: str(v)[:60])
def test_default_answers(response: HttpResponse, expected: tuple[Any, ...]) -> None:
    assert kind(outcome(Answers(), response, NOW)) == expected


class TestRules:
    def decide(self, response: HttpResponse, *rules: dict[str, Any]) -> tuple[Any, ...]:
        answers = Answers.of([AnswerRule.model_validate(rule) for rule in rules])
        return kind(outcome(answers, response, NOW))

    @pytest.mark.parametrize(
        ("rule", "expected"),
        [
            ({"outcome": "delivered"}, (Delivered, None)),
            ({"outcome": "retry"}, (Retry, "answer_rule", None, Scope.MESSAGE)),
            ({"outcome": "retry", "after": "5m"}, (Retry, "answer_rule", 300, Scope.MESSAGE)),
            ({"outcome": "halt"}, (Halt, "answer_rule")),
            ({"outcome": "rejected"}, (Rejected, "answer_rule", False)),
            ({"outcome": "recipient_gone"}, (Rejected, "answer_rule", True)),
        ],
    )
    def test_each_outcome(self, rule: dict[str, Any], expected: tuple[Any, ...]) -> None:
        assert self.decide(answer(409), {"match": {"status": 409}, **rule}) == expected

    @pytest.mark.parametrize(
        ("match", "holds"),
        [
            ({"status": 422}, True),
            ({"status": {"gte": 400, "lt": 500}}, True),
            ({"status": [409, 422]}, True),
            ({"status": 500}, False),
            ({"body.code": "unknown_contact"}, True),
            ({"body.errors[*].field": "email"}, True),
            ({"body.missing": {"exists": False}}, True),
            ({"headers.X-Reason": "gone"}, True),
            ({"headers.x-reason": {"prefix": "go"}}, True),
            ({"status": 422, "body.code": "other"}, False),
            ({"any": [{"status": 1}, {"body.code": {"suffix": "contact"}}]}, True),
            ({"not": {"status": 422}}, False),
        ],
    )
    def test_the_match_language_reads_status_headers_and_body(
        self, match: dict[str, Any], holds: bool
    ) -> None:
        body = {"code": "unknown_contact", "errors": [{"field": "email"}]}
        decided = self.decide(
            answer(422, body, x_reason="gone"), {"match": match, "outcome": "recipient_gone"}
        )
        assert decided == (Rejected, "answer_rule" if holds else "refused", holds)

    @pytest.mark.parametrize(
        ("match", "holds"),
        [
            ({"text": "no_service"}, True),
            ({"text": ["no_team", "no_service"]}, True),
            ({"text": {"prefix": "no_"}}, True),
            ({"text": {"contains": "invalid"}}, False),
            ({"body": {"exists": True}}, True),
        ],
    )
    def test_plain_text_can_be_matched(self, match: dict[str, Any], holds: bool) -> None:
        decided = self.decide(answer(404, b" no_service\n"), {"match": match, "outcome": "halt"})
        assert decided[0] is (Halt if holds else Rejected)

    @pytest.mark.parametrize(
        ("rule", "body", "after", "scope"),
        [
            ({"after_seconds": "body.retry_after"}, {"retry_after": 0.65}, 0.65, Scope.ENDPOINT),
            ({"after_seconds": "body.retry_after"}, {"retry_after": "2"}, 2, Scope.ENDPOINT),
            ({"after_milliseconds": "body.ms"}, {"ms": 1500}, 1.5, Scope.ENDPOINT),
            ({"after_seconds": "body.n", "scope": "sink"}, {"n": 5}, 5, Scope.SINK),
            ({"after_seconds": "body.n"}, {"n": 1e9}, 3600, Scope.ENDPOINT),
            ({"after_seconds": "body.n"}, {"n": "soon"}, 9, Scope.ENDPOINT),
            ({"after_seconds": "body.n"}, {"n": -1}, 9, Scope.ENDPOINT),
            ({"after_seconds": "body.n"}, {"n": None}, 9, Scope.ENDPOINT),
            ({"after_seconds": "body.a.b"}, b"<html>", 9, Scope.ENDPOINT),
            ({"after_seconds": "headers.X-Reset"}, {}, 4, Scope.ENDPOINT),
            ({"scope": "message"}, {}, 9, Scope.MESSAGE),
        ],
    )
    def test_how_long_to_wait_can_stand_in_the_answer(
        self, rule: dict[str, Any], body: Any, after: float, scope: Scope
    ) -> None:
        limited = answer(429, body, retry_after="9", x_reset="4")
        decided = self.decide(limited, {"match": {"status": 429}, "outcome": "retry", **rule})
        assert decided == (Retry, "answer_rule", after, scope)

    def test_a_limit_that_names_no_time_is_respected_for_a_minute(self) -> None:
        rule = {"match": {"status": 429}, "outcome": "retry"}
        assert self.decide(answer(429), rule) == (Retry, "answer_rule", 60, Scope.ENDPOINT)

    @pytest.mark.parametrize(
        ("rule", "message"),
        [
            ({"outcome": "retry", "after": "5m", "after_seconds": "body.n"}, "say once how long"),
            ({"outcome": "halt", "after": "5m"}, "after goes with outcome: retry"),
            ({"outcome": "rejected", "scope": "sink"}, "scope goes with outcome: retry"),
            ({"outcome": "retry", "after_seconds": "boddy.n"}, 'Did you mean "body.n"'),
            ({"outcome": "retry", "after_seconds": "body[*]"}, "could be several values"),
        ],
    )
    def test_waits_that_make_no_sense_are_refused(self, rule: dict[str, Any], message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            config(HttpConfig, answers=[{"match": {"status": 429}, **rule}])

    @pytest.mark.parametrize(
        ("path", "response", "found"),
        [
            ("body.id", answer(201, {"id": "m-1"}), "m-1"),
            ("body.items.0.id", answer(200, {"items": [{"id": 7}]}), "7"),
            ("headers.Location", answer(201, location="/notes/1"), "/notes/1"),
            ("text", answer(200, b"OK-17\n"), "OK-17"),
            ("body.id", answer(200, {"id": True}), None),
            ("body.id", answer(200, {"id": {"a": 1}}), None),
            ("body.id", answer(204), None),
            ("body.id", answer(200, {"id": "x" * 5000}), "x" * 200),
        ],
    )
    def test_the_apis_own_id_is_read(
        self, path: str, response: HttpResponse, found: str | None
    ) -> None:
        assert outcome(Answers.of([], path), response, NOW) == Delivered(found)
        rule = AnswerRule.model_validate({"match": {"status": {"lt": 300}}, "outcome": "delivered"})
        assert outcome(Answers.of([rule], path), response, NOW) == Delivered(found)

    def test_the_first_rule_that_holds_wins(self) -> None:
        decided = self.decide(
            answer(409),
            {"match": {"status": 404}, "outcome": "halt"},
            {"match": {"status": 409}, "outcome": "delivered"},
            {"match": {"status": {"gte": 400}}, "outcome": "halt"},
        )
        assert decided == (Delivered, None)

    def test_a_body_that_is_not_json_matches_no_path(self) -> None:
        rule = {"match": {"body.code": "x"}, "outcome": "halt"}
        assert self.decide(answer(500, b"<html>"), rule)[1] == "provider_error"

    @pytest.mark.parametrize(
        ("match", "message"),
        [
            ({"code": 1}, "not a path"),
            ({"status": {">=": 400}}, 'Did you mean "gte"'),
            ({}, "empty condition"),
            ({"when": "status > 400"}, "not available here"),
        ],
    )
    def test_a_rule_that_can_not_be_read_says_what_to_write(
        self, match: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValidationError, match=message):
            config(HttpConfig, answers=[{"match": match, "outcome": "delivered"}])


class TestCredentialsInTheAddress:
    def url(self, auth: dict[str, str], **message: Any) -> str:
        settings = config(HttpConfig, auth=auth)
        unsigned = request(settings, call(**message))
        assert isinstance(unsigned, HttpRequest)
        return signed(unsigned, settings.auth, settings.base_url).url  # type: ignore[arg-type]

    def test_a_secret_path_stands_behind_the_base(self) -> None:
        auth = {"type": "path", "value": "T0/B0/planted"}
        assert self.url(auth) == "https://crm.example/api/T0/B0/planted"
        assert self.url(auth, path="/x", query=(("wait", "true"),)) == (
            "https://crm.example/api/T0/B0/planted/x?wait=true"
        )

    def test_a_key_in_the_query_is_added_and_encoded(self) -> None:
        auth = {"type": "query", "name": "api_key", "value": "p&1 2"}
        assert self.url(auth) == "https://crm.example/api?api_key=p%261%202"
        assert self.url(auth, query=(("a", "1"),)) == (
            "https://crm.example/api?a=1&api_key=p%261%202"
        )

    @pytest.mark.parametrize("value", ["/T0", "T0/", "a//b", "../x", "a/../b", "a b", "a?b", "ж"])
    def test_a_path_that_can_not_be_one_is_refused(self, value: str) -> None:
        with pytest.raises(ValidationError, match="what stands behind base_url") as error:
            config(HttpConfig, auth={"type": "path", "value": value})
        assert "planted" not in str(error.value)


class TestOAuth2:
    auth = OAuth2Auth.model_validate(
        {
            "type": "oauth2",
            "token_url": "https://login.example/token",
            "client_id": "router",
            "client_secret": "p&ss",
            "scope": "a b",
        }
    )

    def test_the_secret_goes_into_a_header(self) -> None:
        request = token_request(self.auth, 5)
        assert request.body == b"grant_type=client_credentials&scope=a+b"
        assert request.headers["Authorization"] == "Basic cm91dGVyOnAlMjZzcw=="

    def test_the_secret_goes_into_the_form_where_asked(self) -> None:
        request = token_request(self.auth.model_copy(update={"client_auth": "form"}), 5)
        assert request.body is not None
        assert b"client_id=router&client_secret=p%26ss" in request.body
        assert "Authorization" not in request.headers

    @pytest.mark.parametrize(
        ("response", "expected"),
        [
            (answer(200, {"access_token": "t", "expires_in": 60}), ("t", 60.0)),
            (answer(200, {"access_token": "t"}), ("t", 300.0)),
            (answer(200, {"access_token": "t", "expires_in": "60"}), ("t", 300.0)),
        ],
    )
    def test_a_token(self, response: HttpResponse, expected: tuple[str, float]) -> None:
        assert token_of(response) == expected

    @pytest.mark.parametrize(
        ("response", "expected"),
        [
            (answer(400, {"error": "invalid_grant"}), (Halt, "token_refused")),
            (answer(401, {"error": "invalid_client"}), (Halt, "token_refused")),
            (answer(500), (Retry, "token_unavailable", None, Scope.MESSAGE)),
            (answer(200, b"<html>"), (Retry, "token_unavailable", None, Scope.MESSAGE)),
            (answer(200, {"access_token": 5}), (Retry, "token_unavailable", None, Scope.MESSAGE)),
        ],
    )
    def test_no_token(self, response: HttpResponse, expected: tuple[Any, ...]) -> None:
        found = token_of(response)
        assert not isinstance(found, tuple)
        assert kind(found) == expected


class TestConfig:
    @pytest.mark.parametrize(
        "changes",
        [
            {"base_url": "crm.example"},
            {"base_url": "https://crm.example/?a=1"},
            {"base_url": "https://user:pw@crm.example/"},
            {"headers": {"Authorization": "Bearer x"}},
            {"headers": {"X": "a\r\nY: b"}},
            {"headers": {"X Y": "a"}},
            {"auth": {"type": "digest"}},
            {"auth": {"type": "basic", "username": "u"}},
            {"idempotency_header": "a b"},
        ],
    )
    def test_what_can_not_work_is_refused(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            config(HttpConfig, **changes)
