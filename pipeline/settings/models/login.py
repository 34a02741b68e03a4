"""[spiders.NAME.login] and [spiders.NAME.cookies]: how a spider logs in and detects an expired login."""

from __future__ import annotations

import re
from math import isfinite
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.settings.fields.scalars import SECRET_WORDS, HttpUrl, Table
from pipeline.settings.fields.secret import Secret
from pipeline.settings.models.extraction import Selector, check_css, check_extra


def check_statuses(value: tuple[int, ...]) -> tuple[int, ...]:
    for status in value:
        if not 100 <= status <= 599:
            raise PydanticCustomError("status", "{found} is not an HTTP status (100 to 599)", {"found": status})
    return value


class LoginStepTable(Table):
    """A form to fill in on a page after the first page of the login."""

    fields: dict[str, str | Secret] = Field(default_factory=dict)
    """Values of the form's fields, by name of the field."""
    totp: dict[str, Secret] = Field(default_factory=dict)
    """Fields for a one-time code, each with the secret that generates the codes (Base32 or an otpauth:// URL)."""
    form: str | None = None
    """CSS selector of the form. Needed only if the page has several forms and the program does not recognize the login form."""

    _form = field_validator("form")(check_css)

    @field_validator("fields", mode="after")
    @classmethod
    def _no_plain_passwords(cls, fields: dict[str, str | Secret]) -> dict[str, str | Secret]:
        for name, value in fields.items():
            if isinstance(value, str) and SECRET_WORDS.search(name):
                raise PydanticCustomError("secret", "{name} is a secret, and secrets are not allowed in the settings file; "
                                          "use { env = \"NAME\" } or { file = \"path\" }", {"name": name})
        return fields

    @property
    def sends(self) -> bool:
        """Whether the step fills in a form."""
        return bool(self.fields or self.totp or self.form)

    @model_validator(mode="after")
    def _something_to_send(self) -> LoginStepTable:
        if not self.sends and not isinstance(self, LoginTable):
            raise PydanticCustomError("login", "the step fills in no fields: give `fields` or `totp`; or give `form`, if the form has only a button")
        return self


class ExpiredTable(Table):
    """How a response shows that the login has expired.

    The selectors are applied only to pages of the spider's own hosts.
    """

    redirect: bool = True
    """Whether a redirect to login.url shows that the login has expired."""
    status: tuple[int, ...] = ()
    """HTTP statuses that show that the login has expired, such as 401."""
    present: Selector | None = None
    """Selector of an element that appears only on pages for users who are not logged in, such as the login form."""
    missing: Selector | None = None
    """Selector of an element that appears on every page for a logged-in user, such as the link to log out."""
    safe_to_replay: bool = False
    """Whether requests other than GET and HEAD are repeated after a new login."""

    _statuses = field_validator("status")(check_statuses)


def _json_field(value: object, name: str) -> object:
    """Return a value of the login's `fields` with secrets in place of tables such as { env = … }.

    Such a table is replaced at any depth of the value.
    Raises PydanticCustomError if the value cannot be sent as JSON, or if it contains a password in plain text.
    """
    if isinstance(value, dict):
        if len(value) == 1 and next(iter(value)) in ("env", "file"):
            return Secret.parse(value)
        return {key: _json_field(entry, str(key)) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_field(entry, name) for entry in value]
    if isinstance(value, str) and SECRET_WORDS.search(name):
        raise PydanticCustomError("secret", "{name} is a secret, and secrets are not allowed in the settings file; "
                                  "use { env = \"NAME\" } or { file = \"path\" }", {"name": name})
    if not isinstance(value, (str, bool, int, float, Secret)) or (isinstance(value, float) and not isfinite(value)):
        raise PydanticCustomError("login", "the value of {name} cannot be sent as JSON; write a text or a number",
                                  {"name": name})
    return value


JsonField = Annotated[Any, WithJsonSchema({})]
"""A text, a secret, a number, true or false, or a list or table of such values."""


class LoginTable(LoginStepTable):
    """How a spider logs in, and how the success of the login is verified."""

    url: HttpUrl | None = None
    """URL of the page with the login form. Without `url` and `fields`, the imported cookies are the login."""
    fields: dict[str, JsonField] = Field(default_factory=dict)
    """Values by name of the field: texts and secrets for a form, any JSON values for an API."""
    check: Selector
    """Selector that matches only on pages for a logged-in user. A match verifies the login."""
    check_url: HttpUrl | None = None
    """URL of the page to which `check` is applied. The default is the page after the login; with imported cookies, the first entry in
    `start`."""
    origins: tuple[HttpUrl, ...] = ()
    """Further origins, such as "https://accounts.example", to which passwords and the token may be sent."""
    steps: tuple[LoginStepTable, ...] = ()
    """Forms on the pages that follow the first page of the login, for a password or a one-time code."""
    json_: bool = Field(False, alias="json")
    """Whether the fields are sent to `url` in a POST request as JSON, for an API without a form."""
    token: Selector | None = None
    """Selector of the token in the response to the login; with `browser`, in the web storage of the page as a JSON object. The token is sent to
    the login's site in the header `token_header`."""
    token_header: str = "Authorization: Bearer {token}"  # noqa: S105  a template
    """The header that contains the token."""
    expired: ExpiredTable = ExpiredTable()
    """How a response shows that the login has expired."""
    browser: bool = False
    """Whether the form is filled in and submitted in a browser, because it exists only after JavaScript was executed. Needs the extra
    `browser`."""

    @field_validator("fields", mode="before")
    @classmethod
    def _json_fields(cls, fields: object) -> object:
        return {name: _json_field(value, str(name)) for name, value in fields.items()} if isinstance(fields, dict) else fields

    @field_validator("token_header")
    @classmethod
    def _header_line(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9-]+: [\x20-\x7e]*\{token\}[\x20-\x7e]*", value):
            raise PydanticCustomError("auth", "{found} is not a header; write a header such as \"Authorization: Bearer {place}\"",
                                      {"found": repr(value), "place": "{token}"})
        return value

    @model_validator(mode="after")
    def _of_a_piece(self) -> LoginTable:
        for name, value in self.fields.items():
            if not self.json_ and not isinstance(value, (str, Secret)):
                raise PydanticCustomError("login", "the value of fields.{name} is not a text, but forms contain only texts; for an API "
                                          "that expects numbers or tables, add json = true", {"name": name})
        if self.sends and self.url is None:
            raise PydanticCustomError("login", "`url` is missing: set it to the URL of the login form, or remove `fields` if you log in with imported cookies instead")
        if not self.sends and (self.steps or self.token is not None or self.json_ or self.url is not None):
            raise PydanticCustomError("login", "the login has no fields to fill in: set `fields` or `totp`, or set `form` if the form has only a button. "
                                      "If you log in with imported cookies instead, remove `url`, `steps`, `json` and `token`")
        if self.json_ and (self.steps or self.totp or self.form):
            raise PydanticCustomError("login", "`steps`, `totp` and `form` cannot be used with json = true, which sends the fields to an API instead of a form")
        if self.browser and (self.json_ or not self.sends):
            raise PydanticCustomError("login", "`browser` is only for a login whose form is filled in: remove it, or json = true" if self.json_ else
                                      "`browser` is only for a login whose form is filled in: set `url` and `fields`, or remove `browser`")
        if self.browser:
            check_extra("playwright", "browser")
        if self.token is None and "token_header" in self.model_fields_set:
            raise PydanticCustomError("login", "`token_header` can be used only together with `token`, the selector of the token in the response")
        return self


class CookiesTable(Table):
    """Cookies to import, either from a file or from a Cookie header."""

    file: str | None = None
    """File with cookies: in Netscape format, as a Cookie header, or as JSON of a browser extension or of Playwright."""
    header: Secret | None = None
    """The Cookie header of a browser."""
    url: HttpUrl | None = None
    """URL of the site to which the cookies in `header` belong. The default is the first entry in `start`."""

    @model_validator(mode="after")
    def _one(self) -> CookiesTable:
        if (self.file is None) == (self.header is None):
            raise PydanticCustomError("cookies", "give either `file` or `header`")
        return self
