"""What every directory is: a configuration model, and a look-up of profiles by id."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field

from router.clock import Clock
from router.recipients import Directory


class DirectoryConfig(BaseModel):
    """Options that every directory has."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    type: str = Field(description="The directory's kind.")


ConfigT = TypeVar("ConfigT", bound=DirectoryConfig)
ConfigT_contra = TypeVar("ConfigT_contra", bound=DirectoryConfig, contravariant=True)


class OpenDirectory(Protocol[ConfigT_contra]):
    """Opens a directory for its lifetime."""

    def __call__(
        self, config: ConfigT_contra, *, clock: Clock
    ) -> AbstractAsyncContextManager[Directory]: ...


@dataclass(frozen=True, slots=True)
class DirectoryType(Generic[ConfigT]):
    """One kind of directory: what its module exports as ``DIRECTORY``."""

    name: str
    config: type[ConfigT]
    open: OpenDirectory[ConfigT]


def mistake_in(name: str, export: object) -> str | None:
    """What keeps a plugin's export from being used as the directory of that name, or None."""
    if not isinstance(export, DirectoryType):
        return f"exports {type(export).__name__}, not a DirectoryType"
    if export.name != name:
        return f'exports a DirectoryType called "{export.name}" under the name "{name}"'
    config = cast("object", export.config)
    if not (isinstance(config, type) and issubclass(config, DirectoryConfig)):
        return "has a config that is not a subclass of DirectoryConfig"
    if not callable(export.open):
        return "has an open that can't be called"
    return None
