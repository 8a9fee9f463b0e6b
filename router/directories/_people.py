"""A file of people: YAML, JSON or CSV text to recipients, with exact errors."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from router.problems import did_you_mean
from router.recipients import Device, Endpoint, Found, Recipient, Unknown
from router.values import Secret


class PeopleError(ValueError):
    """The file can't be used; the message says where and why, without personal data."""


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _empty_as_none(value: object) -> object:
    return None if value == "" else _number_as_text(value)


Text = Annotated[str | None, BeforeValidator(_empty_as_none)]


class DeviceEntry(BaseModel):
    """A phone or browser that takes pushes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token: Annotated[str, Field(min_length=1)] = Field(description="Push token.")
    id: Text = Field(default=None, description="Stable id; by default the token.")
    platform: str = Field(default="", description="`android`, `ios` or `web`.")
    app: Text = Field(default=None, description="Application, where there are several.")
    environment: Text = Field(default=None, description="APNs environment.")
    registered_at: float | None = Field(default=None, description="Seconds since 1970.")
    locale: Text = Field(default=None, description="The device's locale.")

    def device(self) -> Device:
        return Device(
            id=self.id or self.token,
            token=self.token,
            platform=self.platform,
            app=self.app,
            environment=self.environment,
            registered_at=self.registered_at,
            locale=self.locale,
        )


class EndpointEntry(BaseModel):
    """Where a customer takes webhooks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, Field(min_length=1)] = Field(description="An https address.")
    id: Text = Field(default=None, description="Stable id; by default the address.")
    secrets: tuple[Secret, ...] = Field(default=(), description="Signing secrets, `whsec_…`.")
    types: tuple[str, ...] = Field(
        default=(), description="Event types that it takes, such as `invoice.*`; none is all."
    )
    registered_at: float | None = Field(default=None, description="Seconds since 1970.")

    def endpoint(self) -> Endpoint:
        return Endpoint(self.url, self.id, self.secrets, self.types, self.registered_at)


class PersonEntry(BaseModel):
    """One person of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, BeforeValidator(_number_as_text), Field(min_length=1)]
    tenant: Text = None
    email: Text = None
    name: Text = None
    locale: Text = None
    timezone: Text = None
    telegram: Text = None
    max: Text = None
    devices: tuple[DeviceEntry, ...] = ()
    endpoints: tuple[EndpointEntry, ...] = ()
    attributes: dict[str, Any] = Field(default_factory=dict[str, Any])
    preferences: dict[str, bool] = Field(default_factory=dict[str, bool])

    def recipient(self) -> Recipient:
        return Recipient(
            id=self.id,
            email=self.email,
            name=self.name,
            locale=self.locale,
            timezone=self.timezone,
            telegram=self.telegram,
            max=self.max,
            devices=tuple(entry.device() for entry in self.devices),
            endpoints=tuple(entry.endpoint() for entry in self.endpoints),
            attributes=self.attributes,
            preferences=self.preferences,
        )


@dataclass(frozen=True, slots=True)
class Roster:
    """The people of one file: a directory that does not change.

    Attributes:
        by_tenant: By tenant and id; those of the empty one are everybody's.
    """

    by_tenant: Mapping[str, Mapping[str, Recipient]]

    async def lookup(self, ids: Sequence[str], tenant: str = "") -> Sequence[Found]:
        """The tenant's people, or everybody's; never another tenant's."""
        own, shared = (self.by_tenant.get(name, {}) for name in (tenant, ""))
        return [own.get(id) or shared.get(id) or Unknown(id) for id in ids]

    def __len__(self) -> int:
        return sum(map(len, self.by_tenant.values()))


@dataclass(frozen=True, slots=True)
class Placed:
    """A person, and where the file has them.

    Attributes:
        tenant: Whose they are; empty where everybody's.
    """

    place: str
    tenant: str
    recipient: Recipient


def read_people(text: str, suffix: str) -> Roster:
    """The people of a file, as :func:`read_placed` finds them."""
    people: dict[str, dict[str, Recipient]] = {}
    for person in read_placed(text, suffix):
        people.setdefault(person.tenant, {})[person.recipient.id] = person.recipient
    return Roster(people)


def read_placed(text: str, suffix: str) -> list[Placed]:
    """The people of a file. An id may stand once for each tenant, and once for everybody.

    Args:
        suffix: ``.yaml``, ``.yml``, ``.json`` or ``.csv``. YAML and JSON hold a list of people or
            a map from id to person; CSV has a header line, and columns such as
            ``attributes.city`` and ``preferences.marketing``.

    Raises:
        PeopleError: it can't be read; every wrong entry is named, the first ten in full.
    """
    entries = _READERS[suffix](text)
    people: list[Placed] = []
    known: set[tuple[str, str]] = set()
    wrong: list[str] = []
    for place, entry in entries:
        try:
            person = PersonEntry.model_validate(entry)
        except ValidationError as error:
            wrong += [f"{place}: {what}" for what in _explain(error)]
            continue
        tenant = person.tenant or ""
        if (tenant, person.id) in known:
            wrong.append(f"{place}: this id stands twice")
        known.add((tenant, person.id))
        people.append(Placed(place, tenant, person.recipient()))
    if wrong:
        more = f"; and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        raise PeopleError("; ".join(wrong[:10]) + more)
    return people


_INNER: dict[str, type[BaseModel]] = {"devices": DeviceEntry, "endpoints": EndpointEntry}


def _explain(error: ValidationError) -> list[str]:
    said: list[str] = []
    for problem in error.errors(include_url=False, include_input=False):
        *parents, field = problem["loc"] or ("",)
        path = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            model = next((m for name, m in _INNER.items() if name in parents), PersonEntry)
            hint = did_you_mean(str(field), sorted(model.model_fields), "Fields")
            said.append(f'unknown field "{path}".{hint}')
        elif problem["type"] == "missing":
            said.append(f"{path} is missing")
        elif not path:
            said.append("not a map of fields")
        else:
            said.append(f"{path}: {problem['msg'][0].lower()}{problem['msg'][1:]}")
    return said


# Formats -------------------------------------------------------------------------------------

Entries = list[tuple[str, Any]]


def _read_yaml(text: str) -> Entries:
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            document = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
        return _entries(document, _lines(node))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise PeopleError(f"line {line}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise PeopleError(str(error).splitlines()[0]) from None


def _lines(node: Any) -> list[int]:
    """Where each person begins."""
    match node:
        case yaml.SequenceNode():
            starts = node.value
        case yaml.MappingNode():
            starts = [key for key, _ in node.value]
        case _:
            starts = []
    return [start.start_mark.line + 1 for start in starts]


def _read_json(text: str) -> Entries:
    try:
        return _entries(orjson.loads(text))
    except orjson.JSONDecodeError as error:
        raise PeopleError(f"line {error.lineno}: {error.msg}") from None


def _read_csv(text: str) -> Entries:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        return [(f"line {reader.line_num}", _nest(row)) for row in reader]
    except csv.Error as error:
        raise PeopleError(f"line {reader.line_num}: {error}") from None


def _nest(row: Mapping[str | None, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    for column, value in row.items():
        if column is None:
            raise csv.Error("more values than columns")
        group, dot, name = column.partition(".")
        if value in (None, ""):
            continue
        if dot:
            entry.setdefault(group, {})[name] = value
        else:
            entry[column] = value
    return entry


def _entries(document: Any, lines: Sequence[int] = ()) -> Entries:
    """People, each with its line, or its number where lines are not known."""
    places = [f"line {line}" for line in lines]
    if document is None:
        return []
    if isinstance(document, list):
        places = places or [f"person {i}" for i, _ in enumerate(document, 1)]
        return list(zip(places, document, strict=True))
    if isinstance(document, dict):
        places = places or [f"person {i}" for i, _ in enumerate(document, 1)]
        return [
            (place, {"id": id, **entry} if isinstance(entry, dict) else entry)
            for place, (id, entry) in zip(places, document.items(), strict=True)
        ]
    raise PeopleError("neither a list of people nor a map from id to person")


class _Loader(yaml.CSafeLoader):
    """YAML 1.2's idea of scalars: ``no``, ``010`` and ``22:00`` are text. Keys are unique."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int):
                raise yaml.MarkedYAMLError(None, None, "a key is text", key_node.start_mark)
            if key in mapping:
                raise yaml.MarkedYAMLError(None, None, "this key stands twice", key_node.start_mark)
            mapping[key] = self.construct_object(value_node, deep=deep)
        return mapping


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(true|false)$"), ["t", "f"])
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("^null$"), ["n"])
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^-?(0|[1-9]\d*)$"), list("-0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^-?(0|[1-9]\d*)\.\d+$"), list("-0123456789")
)

_READERS = {".yaml": _read_yaml, ".yml": _read_yaml, ".json": _read_json, ".csv": _read_csv}
SUFFIXES = tuple(_READERS)
