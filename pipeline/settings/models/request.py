"""Models of the start requests in [spiders.NAME]: URL, headers, body, cookies and HTTP authentication."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.settings.fields.scalars import SECRET_WORDS, HttpUrl, Table
from pipeline.settings.fields.secret import Secret
from pipeline.settings.models.render import Render

Pairs = dict[str, Any] | tuple[tuple[str, Any], ...]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_OURS = ("connection", "content-length", "host", "transfer-encoding")
_SECRET_HEADERS = ("authorization", "cookie", "proxy-authorization")


def check_headers(headers: dict[str, str | Secret]) -> dict[str, str | Secret]:
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise PydanticCustomError("header", "{found} is not a valid name of a header; use letters, digits and -",
                                      {"found": repr(name)})
        if name.lower() in _OURS:
            raise PydanticCustomError("header", "the header {name} is set automatically; remove this header from the settings", {"name": name})
        if isinstance(value, str) and (name.lower() in _SECRET_HEADERS or SECRET_WORDS.search(name)):
            raise PydanticCustomError("secret", "the value of {name} is a secret, and secrets are not allowed in the settings file; "
                                      "use { env = \"NAME\" } or { file = \"path\" }", {"name": name})
        if isinstance(value, str) and CONTROL_CHARACTERS.search(value):
            raise PydanticCustomError("header", "the value of {name} contains a line break or control character; remove this character",
                                      {"name": name})
    return headers


class RequestTable(Table):
    """A request in `start`. A request that is only a text is the value of `url`."""

    url: HttpUrl
    """URL to fetch."""
    method: str | None = None
    """HTTP method. The default is GET, or POST if the request has a body."""
    params: Pairs | None = None
    """Parameters of the query, as a table or as a list of pairs. Parameters with an empty value are left out. Pairs may repeat a name."""
    form: Pairs | None = None
    """Fields of a form that is sent as the body, as a table or as a list of pairs."""
    json_: Any = Field(None, alias="json")
    """Value that is sent as the body, as JSON."""
    body: str | None = None
    """Text that is sent as the body."""
    headers: dict[str, str | Secret] = Field(default_factory=dict)
    """HTTP headers of this request."""
    cookies: dict[str, str | Secret] = Field(default_factory=dict)
    """Cookies of this request."""
    encoding: str | None = None
    """Encoding of the response, if the response declares a wrong encoding."""
    auth: AuthTable | None = None
    """HTTP authentication of this request."""
    render: Render | Literal[False] | None = None
    """Whether this page is rendered in a browser: "browser", a table, or false. The default is `render` of the spider."""

    @field_validator("encoding")
    @classmethod
    def _codec(cls, value: str | None) -> str | None:
        return check_encoding(value)

    _headers = field_validator("headers")(check_headers)

    @field_validator("method")
    @classmethod
    def _method(cls, value: str | None) -> str | None:
        if value is not None and not _TOKEN.fullmatch(value):
            raise PydanticCustomError("request", "{found} is not an HTTP method, such as GET or POST", {"found": repr(value)})
        return value

    @field_validator("cookies")
    @classmethod
    def _cookies(cls, cookies: dict[str, str | Secret]) -> dict[str, str | Secret]:
        for name, value in cookies.items():
            if not _TOKEN.fullmatch(re.sub(r"[\[\]]", "", name)):
                raise PydanticCustomError("cookies", "{found} is not a valid cookie name", {"found": repr(name)})
            if isinstance(value, str) and re.search(r"[;\x00-\x1f\x7f]", value):
                raise PydanticCustomError("cookies", "the value of the cookie {name} contains a semicolon or a control character", {"name": name})
        return cookies

    @model_validator(mode="after")
    def _one_body(self) -> RequestTable:
        given = [name for name, value in (("form", self.form), ("json", self.json_), ("body", self.body))
                 if value is not None]
        if len(given) > 1:
            raise PydanticCustomError("request", "give at most one of `form`, `json` and `body` (found {found})",
                                      {"found": ", ".join(given)})
        return self


class AuthTable(Table):
    """HTTP authentication with user name and password, or with a token."""

    type: Literal["basic", "digest", "bearer"] = "basic"
    """Authentication scheme."""
    user: str | None = None
    """User name, for basic and digest authentication."""
    password: Secret | None = None
    """Password, for basic and digest authentication."""
    token: Secret | None = None
    """Token, for bearer authentication."""

    @model_validator(mode="after")
    def _complete(self) -> AuthTable:
        if self.type == "bearer" and self.token is None:
            raise PydanticCustomError("auth", "authentication with type = \"bearer\" needs `token`")
        if self.type != "bearer" and (self.user is None or self.password is None):
            raise PydanticCustomError("auth", "authentication with type = \"{type}\" needs `user` and `password`", {"type": self.type})
        if self.user is not None and ":" in self.user:  # RFC 7617, 2
            raise PydanticCustomError("auth", "a user name cannot contain a colon")
        return self


RequestTable.model_rebuild()
Start = Annotated[RequestTable, BeforeValidator(lambda value: {"url": value} if isinstance(value, str) else value)]


def check_encoding(value: str | None) -> str | None:
    if value is not None:
        try:
            "".encode(value)
        except LookupError as error:
            raise PydanticCustomError("encoding", "unknown encoding {found}", {"found": repr(value)}) from error
    return value
