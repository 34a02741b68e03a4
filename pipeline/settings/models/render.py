"""[spiders.NAME.render] and [browser]: how pages are rendered in a browser, and which browser."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.settings.fields.browser_values import (
    ElementSelector,
    check_condition,
    check_key,
    check_language,
    check_time_zone,
    check_viewport,
)
from pipeline.settings.fields.scalars import SECRET_WORDS, AlsoAccepts, Duration, Size, Table
from pipeline.settings.fields.secret import Secret
from pipeline.settings.models.extraction import check_extra, check_regexes

Blocked = Literal["images", "fonts", "media", "styles", "trackers"]

SEEN_BLOCKED = ("media", "trackers")
"""What a page of which a picture is taken does not load by default."""

WaitCondition = Annotated[str, AfterValidator(check_condition)]
Key = Annotated[str, AfterValidator(check_key)]
Viewport = Annotated[str, BeforeValidator(check_viewport)]
LanguageTag = Annotated[str | None, BeforeValidator(check_language)]
BrowserZone = Annotated[str | None, AfterValidator(check_time_zone)]
_ACTIONS = ("click", "fill", "select", "press", "scroll", "wait")


class StepTable(Table):
    """One step that is performed on a page before its content is taken: one of click, fill, select, press, scroll and wait."""

    click: ElementSelector | None = None
    """CSS selector of the element to click."""
    fill: ElementSelector | None = None
    """CSS selector of the field to fill in with `value`."""
    select: ElementSelector | None = None
    """CSS selector of the list in which the option with the value or label `value` is selected."""
    value: str | Secret | None = None
    """Text for `fill` or `select`."""
    press: Key | None = None
    """Key to press, such as "Enter" or "Control+A"."""
    scroll: Literal["end"] | None = None
    """Where to scroll: "end" scrolls to the end of the page until the page does not grow any more."""
    wait: WaitCondition | None = None
    """What to wait for: a CSS selector, "networkidle", or a time such as "2s"."""
    times: int = Field(1, ge=1, le=1000)
    """How often the step is performed. Clicks end early when the element is gone, as with a button that loads more."""
    optional: bool = False
    """Whether the step is left out if its element does not appear, such as a banner that is shown once."""

    @field_validator("value", mode="before")
    @classmethod
    def _text(cls, value: object) -> object:
        if isinstance(value, (bool, int, float, list)):
            raise PydanticCustomError("string_type", "should be text")
        return value

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
    wait_for: tuple[WaitCondition, ...] = ()
    """What shows that a page is complete: CSS selectors, "networkidle" (no request for half a second), or a time such as "2s". By default,
    the page's load event."""
    steps: tuple[StepTable, ...] = ()
    """What is done on each page before its content is taken."""
    block: tuple[Blocked, ...] = ("images", "fonts", "media", "trackers")
    """What a page does not load."""
    viewport: Viewport = "1280x800"
    """Size of the window, as width x height in pixels."""
    locale: LanguageTag = None
    """Language of the browser, such as "de-DE"."""
    timezone: BrowserZone = None
    """Time zone of the browser, such as "Europe/Berlin"."""
    device: str | None = None
    """A device of Playwright that the browser emulates, such as "iPhone 15"."""
    screenshot: Literal["page", "part"] | None = None
    """Picture to take of each page: of the whole page, or of the part that `watch.part` selects. The pictures are stored like downloads."""
    pdf: bool = False
    """Whether each page is stored as a PDF file, too, like a download."""

    def blocked(self, *, for_picture: bool = False) -> frozenset[Blocked]:
        """Return what a page does not load. For pictures, images, fonts and styles are loaded, unless the settings name them in `block`.

        for_picture: whether a picture is taken that the table does not ask for.
        """
        if (self.screenshot is None and not self.pdf and not for_picture) or "block" in self.model_fields_set:
            return frozenset(self.block)
        return frozenset(self.block) - {"images", "fonts", "styles"}

    @field_validator("wait_for", "only", "block", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("steps", mode="before")
    @classmethod
    def _list_of_tables(cls, value: object) -> object:
        if isinstance(value, (str, dict)):
            raise PydanticCustomError("render", 'should be a list of tables, such as [{ click = "#more" }]')
        return value

    @field_validator("device")
    @classmethod
    def _device_name(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise PydanticCustomError("render", 'the text is empty; write the name of a device of Playwright, such as "iPhone 15"')
        return value.strip() if value is not None else None

    _patterns = field_validator("only")(check_regexes)

    @model_validator(mode="after")
    def _installed(self) -> RenderTable:
        check_extra("playwright", "browser")
        return self


def _render(value: object) -> object:
    if value == "browser":
        return {}
    if isinstance(value, (str, int, float, list)):  # true and false are integers
        found = str(value).lower() if isinstance(value, bool) else "a list" if isinstance(value, list) else repr(value)
        raise PydanticCustomError("render", "{found} is not a way to render pages; write \"browser\" or a table", {"found": found})
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
    page_memory: Size = Field(10**9, validate_default=False)
    """Maximum memory of one page, half of it for the objects of its scripts. A page that exceeds it is ended and fails alone."""

    @field_validator("executable")
    @classmethod
    def _path(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise PydanticCustomError("render", 'the text is empty; write the path of a program, such as "/usr/bin/chromium", or remove the key')
        return value

    @field_validator("start_timeout")
    @classmethod
    def _some_time(cls, value: float) -> float:
        if not value:
            raise PydanticCustomError("duration", 'a browser needs some time to start; write a duration such as "30s"')
        return value

    @field_validator("remote", mode="before")
    @classmethod
    def _remote_url(cls, value: Any) -> Any:
        if isinstance(value, (dict, Secret)) or value is None:
            return value
        try:
            parts = urlsplit(value) if isinstance(value, str) and not re.search(r"\s", value) else urlsplit("")
            is_url = parts.scheme in ("http", "https", "ws", "wss") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_url = False
        if not is_url:
            found = repr(value) if isinstance(value, str) else str(value).lower() if isinstance(value, (int, float)) else "this"
            raise PydanticCustomError("url", "{found} is not the URL of a browser; write a URL such as \"http://browser.lan:9222\"", {"found": found})
        return value
