"""[spiders.NAME.archive] and [archive]: what is archived and redacted, and for how long."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.settings.fields.scalars import AlsoAccepts, Duration, HttpUrl, Size, Table
from pipeline.settings.fields.secret import Secret
from pipeline.settings.models.extraction import check_extra

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class SpiderArchiveTable(Table):
    """What is archived of the pages of a spider. `archive = true` stands for the defaults, `archive = "changed"` for `what = "changed"`.
    Needs the extra `archive`."""

    what: Literal["all", "changed"] = "all"
    """Which pages are archived: "all", or only those on which a change was found."""
    keep: Duration | None = None
    """How long the archived pages of this spider are kept. The default is `keep` of [archive]."""
    screenshot: bool = True
    """Whether a picture of each rendered page is archived, too."""
    redact_headers: tuple[str, ...] = ()
    """Names of further headers of requests and responses whose values are not archived. The values of Cookie, Set-Cookie, Authorization and
    Proxy-Authorization, and secrets of this file, never are."""
    redact_fields: tuple[str, ...] = ()
    """Names of fields of forms and of JSON objects in request bodies whose values are not archived."""
    redact_params: tuple[str, ...] = ()
    """Names of parameters of URLs whose values are not archived."""

    @field_validator("redact_headers", "redact_fields", "redact_params", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("redact_fields", "redact_params")
    @classmethod
    def _not_empty(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "" in value:
            raise PydanticCustomError("archive", "a name is empty; write the name of the value that is not to be archived")
        return _no_pattern(value)

    @field_validator("redact_headers")
    @classmethod
    def _header_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not _HEADER_NAME.fullmatch(name):
                raise PydanticCustomError("archive", "{found} is not the name of a header; write a name such as \"X-Api-Key\"", {"found": repr(name)})
        return _no_pattern(value)

    @model_validator(mode="after")
    def _installed(self) -> SpiderArchiveTable:
        check_extra("warcio", "archive")
        return self


def _no_pattern(names: tuple[str, ...]) -> tuple[str, ...]:
    if "*" in names:
        raise PydanticCustomError("archive", "'*' is not the name of a value, and does not stand for all; write the names one by one")
    return names


def _archive(value: object) -> object:
    if isinstance(value, bool):
        return {} if value else None
    if value in ("all", "changed"):
        return {"what": value}
    if isinstance(value, (str, int, float, list)):
        raise PydanticCustomError("archive", "should be true, false, \"changed\" or a table")
    return value


Archive = Annotated[SpiderArchiveTable | None, BeforeValidator(_archive), AlsoAccepts({"anyOf": [{"type": "boolean"}, {"enum": ["all", "changed"]}]})]


class ArchiveTable(Table):
    """How long the archived pages of all spiders are kept, and who confirms when they were archived."""

    keep: Duration | None = None
    """How long archived pages are kept. By default all are kept. A file to which a newer one refers, because a page had not changed since, is
    kept up to seven days longer."""
    quota: Size | None = Field(None, validate_default=False)
    """Maximum size of the archived pages of all spiders together. Beyond this size the oldest files are deleted."""
    timestamp_url: HttpUrl | Secret | None = None
    """URL of a time stamp server (RFC 3161), which confirms for the file of each day that it existed then. By default none is asked."""
    timestamp_ca: str | None = None
    """PEM file with the certificates of the authorities that may sign the answers of the time stamp server."""

    @model_validator(mode="after")
    def _installed(self) -> ArchiveTable:
        if self.timestamp_url is not None:
            check_extra("rfc3161_client", "archive")
        return self
