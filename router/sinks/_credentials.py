"""How the http sink shows who it is: in a header, in the address, or by a token it fetches."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import replace
from typing import Annotated, Literal, TypeAlias
from urllib.parse import quote, urlencode

from pydantic import BaseModel, ConfigDict, Field, field_validator

from router.sinks._oauth2 import OAuth2Auth
from router.transport import HttpRequest
from router.values import Secret

_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%\-]+(/[A-Za-z0-9._~!$&'()*+,;=:@%\-]+)*")


class _Auth(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BasicAuth(_Auth):
    """User name and password."""

    type: Literal["basic"] = Field(description="User name and password.")
    username: str = Field(description="User name.", examples=["router"])
    password: Secret = Field(description="Password.", examples=["!env CRM_PASSWORD"])


class BearerAuth(_Auth):
    """A fixed token in the `Authorization` header."""

    type: Literal["bearer"] = Field(description="A fixed token.")
    token: Secret = Field(description="The token.", examples=["!env CRM_TOKEN"])


class HeaderAuth(_Auth):
    """A key in a header of its own."""

    type: Literal["header"] = Field(description="A key in a header of its own.")
    name: str = Field(
        pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
        description="The header.",
        examples=["X-Api-Key"],
    )
    value: Secret = Field(description="Its value.", examples=["!env CRM_API_KEY"])


class PathAuth(_Auth):
    """A secret part of the address itself, as chat services' incoming webhooks have it."""

    type: Literal["path"] = Field(description="A secret part of the address.")
    value: Secret = Field(
        description="What stands between `base_url` and each request's path.",
        examples=["!env SLACK_WEBHOOK"],
    )

    @field_validator("value")
    @classmethod
    def _readable(cls, value: Secret) -> Secret:
        if value.known and not _is_path(value.reveal()):
            raise ValueError("write what stands behind base_url, without slashes around it")
        return value


class QueryAuth(_Auth):
    """A key in the query."""

    type: Literal["query"] = Field(description="A key in the query.")
    name: str = Field(pattern=r"^[^\s&=#]+$", description="The parameter.", examples=["api_key"])
    value: Secret = Field(description="Its value.", examples=["!env SMS_API_KEY"])


FixedAuth: TypeAlias = BasicAuth | BearerAuth | HeaderAuth | PathAuth | QueryAuth
Auth: TypeAlias = Annotated[FixedAuth | OAuth2Auth, Field(discriminator="type")]


def signed(call: HttpRequest, auth: FixedAuth | None, base_url: str) -> HttpRequest:
    """The call with its credentials; ``base_url`` is what its address starts with."""
    match auth:
        case None:
            return call
        case BasicAuth():
            pair = f"{auth.username}:{auth.password.reveal()}"
            return _with_header(call, "Authorization", f"Basic {b64encode(pair.encode()).decode()}")
        case BearerAuth():
            return with_token(call, auth.token.reveal())
        case HeaderAuth():
            return _with_header(call, auth.name, auth.value.reveal())
        case PathAuth():
            base = base_url.rstrip("/")
            return replace(call, url=f"{base}/{auth.value.reveal()}{call.url[len(base) :]}")
        case QueryAuth():
            mark = "&" if "?" in call.url else "?"
            pair = urlencode({auth.name: auth.value.reveal()}, quote_via=quote)
            return replace(call, url=f"{call.url}{mark}{pair}")


def with_token(call: HttpRequest, token: str) -> HttpRequest:
    """The call with a bearer token."""
    return _with_header(call, "Authorization", f"Bearer {token}")


def _with_header(call: HttpRequest, name: str, value: str) -> HttpRequest:
    return replace(call, headers={**call.headers, name: value})


def _is_path(text: str) -> bool:
    return bool(_PATH.fullmatch(text)) and not {".", ".."} & set(text.split("/"))
