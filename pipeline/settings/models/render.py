"""[spiders.NAME.render] and [browser]: how pages are rendered in a browser, and which browser."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.settings.fields.scalars import SECRET_WORDS, AlsoAccepts, Duration, Size, Table, duration_s
from pipeline.settings.fields.secret import Secret
from pipeline.settings.models.extraction import check_extra, check_regexes

Blocked = Literal["images", "fonts", "media", "styles", "trackers"]

NETWORK_IDLE = "networkidle"
SEEN_BLOCKED = ("media", "trackers")
"""What a page of which a picture is taken does not load by default."""

_ACTIONS = ("click", "fill", "select", "press", "scroll", "wait")


def wait_s(condition: str) -> float | None:
    """Return the seconds of a condition of `wait_for` that is a time, such as "2s"; None for a selector and "networkidle"."""
    return float(str(duration_s(condition))) if condition[:1].isdigit() else None  # no CSS selector begins with a digit


def _condition(value: str) -> str:
    if not value.strip():
        raise PydanticCustomError("render", "the text is empty; write a CSS selector, \"networkidle\" or a time such as \"2s\"")
    if value.lower().replace("_", "").replace("-", "") == NETWORK_IDLE:
        return NETWORK_IDLE
    wait_s(value)
    return value


class StepTable(Table):
    """One step that is performed on a page before its content is taken: one of click, fill, select, press, scroll and wait."""

    click: str | None = None
    """CSS selector of the element to click."""
    fill: str | None = None
    """CSS selector of the field to fill in with `value`."""
    select: str | None = None
    """CSS selector of the list in which the option with the value or label `value` is selected."""
    value: str | Secret | None = None
    """Text for `fill` or `select`."""
    press: str | None = None
    """Key to press, such as "Enter" or "Control+A"."""
    scroll: Literal["end"] | None = None
    """Where to scroll: "end" scrolls to the end of the page until the page does not grow any more."""
    wait: str | None = None
    """What to wait for: a CSS selector, "networkidle", or a time such as "2s"."""
    times: int = Field(1, ge=1, le=1000)
    """How often the step is performed. Clicks end early when the element is gone, as with a button that loads more."""
    optional: bool = False
    """Whether the step is left out if its element does not appear, such as a banner that is shown once."""

    @field_validator("wait")
    @classmethod
    def _wait_condition(cls, value: str | None) -> str | None:
        return value if value is None else _condition(value)

    @model_validator(mode="after")
    def _one_action(self) -> StepTable:
        given = [name for name in _ACTIONS if getattr(self, name) is not None]
        if len(given) != 1:
            raise PydanticCustomError("render", "a step needs exactly one of {known} (found {found})",
                                      {"known": ", ".join(_ACTIONS), "found": ", ".join(given) or "none"})
        if (self.value is not None) != (given[0] in ("fill", "select")):
            raise PydanticCustomError("render", "`value` belongs to `fill` and `select`, and both need it")
        if isinstance(self.value, str) and SECRET_WORDS.search(self.fill or ""):
            raise PydanticCustomError("secret", "{name} is a secret, and secrets are not allowed in the settings file; "
                                      "use { env = \"NAME\" } or { file = \"path\" }", {"name": self.fill})
        return self


class RenderTable(Table):
    """How the pages of a spider are rendered in a browser. `render = "browser"` stands for the defaults. Needs the extra `browser`."""

    only: tuple[str, ...] = ()
    """Regular expressions. Only pages whose URL matches at least one are rendered; all others are fetched without a browser. By default all
    pages are rendered."""
    wait_for: tuple[str, ...] = ()
    """What shows that a page is complete: CSS selectors, "networkidle" (no request for half a second), or a time such as "2s". By default,
    the page's load event."""
    steps: tuple[StepTable, ...] = ()
    """What is done on each page before its content is taken."""
    block: tuple[Blocked, ...] = ("images", "fonts", "media", "trackers")
    """What a page does not load."""
    viewport: str = Field("1280x800", pattern=r"^[1-9]\d{1,4}x[1-9]\d{1,4}$")
    """Size of the window, as width x height in pixels."""
    locale: str | None = Field(None, pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")
    """Language of the browser, such as "de-DE"."""
    timezone: str | None = None
    """Time zone of the browser, such as "Europe/Berlin"."""
    device: str | None = None
    """A device of Playwright that the browser emulates, such as "iPhone 15"."""
    screenshot: Literal["page", "part"] | None = None
    """Picture to take of each page: of the whole page, or of the part that `watch.part` selects. The pictures are stored like downloads."""
    pdf: bool = False
    """Whether each page is stored as a PDF file, too, like a download."""

    @property
    def blocked(self) -> frozenset[Blocked]:
        """What a page does not load. For pictures, images, fonts and styles are loaded, unless the settings name them in `block`."""
        if (self.screenshot is None and not self.pdf) or "block" in self.model_fields_set:
            return frozenset(self.block)
        return frozenset(self.block) - {"images", "fonts", "styles"}

    @field_validator("wait_for", "only", "block", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ZoneInfo(value)
            except (ZoneInfoNotFoundError, ValueError, OSError) as error:
                raise PydanticCustomError("timezone", "{found} is not a time zone; write a name such as \"Europe/Berlin\"", {"found": repr(value)}) from error
        return value

    @field_validator("wait_for")
    @classmethod
    def _conditions(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(_condition, values))

    _patterns = field_validator("only")(check_regexes)

    @model_validator(mode="after")
    def _installed(self) -> RenderTable:
        check_extra("playwright", "browser")
        return self


def _render(value: object) -> object:
    if value == "browser":
        return {}
    if isinstance(value, str) or value is True:
        raise PydanticCustomError("render", "{found} is not a way to render pages; write \"browser\" or a table",
                                  {"found": "true" if value is True else repr(value)})
    return value


Render = Annotated[RenderTable, BeforeValidator(_render), AlsoAccepts({"const": "browser"})]


class BrowserTable(Table):
    """Which browser renders pages. Only used by spiders with `render`, `login.browser` or `watch.visual`."""

    executable: str | None = None
    """Path of Chromium or Chrome. By default, the one that Playwright has installed, or else one of the system, such as /usr/bin/chromium."""
    remote: str | Secret | None = None
    """URL of a browser on another machine, which is reached by the Chrome DevTools Protocol, such as "http://browser.lan:9222"."""
    start_timeout: Duration = 30.0
    """How long the browser may take to start."""
    max_load: Size = Field(100 * 10**6, validate_default=False)
    """Maximum size of everything that one page loads. A page that exceeds it fails."""

    @field_validator("remote")
    @classmethod
    def _remote_url(cls, value: Any) -> Any:
        if isinstance(value, str) and not re.match(r"(https?|wss?)://[^/]", value):
            raise PydanticCustomError("url", "{found} is not the URL of a browser; write a URL such as \"http://browser.lan:9222\"", {"found": repr(value)})
        return value
