"""Errors of the API as problem details (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web
from pydantic import BaseModel, Field

MEDIA_TYPE = "application/problem+json"

Kind = Literal["unauthorized", "read-only", "not-found", "method-not-allowed", "unknown-parameter", "duplicate-parameter", "invalid-parameter",
               "invalid-body", "unexpected-body", "body-too-large", "unsupported-media-type", "timeout", "conflict", "not-possible", "too-many-requests",
               "key-reused", "in-progress", "interrupted", "store", "unavailable", "bug", "other"]
TITLES: dict[Kind, tuple[int, str]] = {
    "unauthorized": (401, "The request has no valid token"),
    "read-only": (403, "The token may only read"),
    "not-found": (404, "There is no such resource"),
    "method-not-allowed": (405, "The resource does not have this method"),
    "unknown-parameter": (400, "The query has an unknown parameter"),
    "duplicate-parameter": (400, "The query has a parameter twice"),
    "invalid-parameter": (400, "A parameter is invalid"),
    "invalid-body": (400, "The body is invalid"),
    "unexpected-body": (400, "The request must not have a body"),
    "body-too-large": (413, "The body is too large"),
    "unsupported-media-type": (415, "The body is not JSON in UTF-8"),
    "timeout": (408, "The body did not arrive in time"),
    "conflict": (409, "The state of the resource does not allow this"),
    "not-possible": (422, "The request is valid, but cannot be performed"),
    "too-many-requests": (429, "The token has sent too many requests"),
    "key-reused": (422, "The Idempotency-Key was used for another request"),
    "in-progress": (409, "The first request with this Idempotency-Key is still being performed"),
    "interrupted": (409, "It is not known whether the first request with this Idempotency-Key was performed"),
    "store": (503, "The database or the file store does not answer"),
    "unavailable": (503, "This process does not perform this"),
    "bug": (500, "The request failed because of a bug"),
    "other": (400, "The request failed"),
}
"""The status and the title of each kind of problem."""
_BY_STATUS: dict[int, Kind] = {404: "not-found", 405: "method-not-allowed", 413: "body-too-large", 408: "timeout"}


class InvalidValue(BaseModel):
    """A parameter or a field of the body that is invalid, and why."""

    name: str
    reason: str


class Problem(BaseModel):
    """Problem details. type: a section of docs/api.md, relative to the documentation."""

    type: str
    title: str
    status: int
    detail: str = ""
    errors: list[InvalidValue] = Field(default_factory=list)


@dataclass
class ApiProblem(Exception):  # noqa: N818  RFC 9457 calls it a problem
    """Raised by handlers for an error response. errors: the name of each invalid value, and why it is invalid."""

    kind: Kind
    detail: str = ""
    errors: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int | None = None

    @property
    def response(self) -> web.Response:
        status, title = TITLES[self.kind]
        status = self.status or status
        found = Problem(type=f"docs/api.md#{self.kind}", title=title, status=status, detail=self.detail,
                        errors=[InvalidValue(name=name, reason=reason) for name, reason in self.errors])
        body = json.dumps(found.model_dump(exclude_defaults=True), ensure_ascii=True)  # a lone surrogate stays an escape
        return web.Response(status=status, body=body.encode(), headers={"Content-Type": MEDIA_TYPE, **self.headers})


def of_http_error(error: web.HTTPException) -> ApiProblem:
    """Return the problem for an error of aiohttp's router."""
    kind = _BY_STATUS.get(error.status, "other")
    return ApiProblem(kind, "" if kind != "other" else error.reason, status=error.status,
                      headers={"Allow": error.headers["Allow"]} if "Allow" in error.headers else {})
