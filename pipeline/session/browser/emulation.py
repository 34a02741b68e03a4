"""What a browser looks like to sites: window, language, time zone, device."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pipeline.errors import BrowserError
from pipeline.settings import RenderTable

PROGRAM_NAME = "crawl-to-inbox/"
"""How the user agent of a spider begins that has no `user_agent` of its own."""


@dataclass(frozen=True)
class Emulation:
    """What a browser context looks like to sites. Pages with equal emulations share a context.

    viewport: width and height of the window in pixels; None means that of the device. locale: a language tag such as "de-DE".
    timezone: an IANA name. device: a name that Playwright knows, such as "iPhone 15".
    """

    viewport: tuple[int, int] | None = (1280, 800)
    locale: str | None = None
    timezone: str | None = None
    device: str | None = None

    @classmethod
    def of(cls, table: RenderTable) -> Self:
        """Return what the settings say. The window of a device is replaced only by a `viewport` that is set."""
        width, _, height = table.viewport.partition("x")
        own = table.device is None or "viewport" in table.model_fields_set
        return cls((int(width), int(height)) if own else None, table.locale, table.timezone, table.device)

    def options(self, devices: Mapping[str, Mapping[str, Any]], user_agent: str) -> dict[str, Any]:
        """Return the arguments of Playwright's new_context(). Raises BrowserError for an unknown device.

        devices: the devices that Playwright knows. user_agent: that of the session. With a device, sites also see the user agent
        of the device, unless the spider has a user agent of its own.
        """
        options: dict[str, Any] = {"user_agent": user_agent}
        if self.device is not None:
            found = devices.get(self.device)
            if found is None:
                near = difflib.get_close_matches(self.device, devices, n=3, cutoff=0.4)
                raise BrowserError(f"there is no device named {self.device!r}", where="render.device",
                                   fix=f"use a name that Playwright knows, such as {', '.join(map(repr, near or ['iPhone 15', 'Pixel 7']))}")
            options = {name: found[name] for name in ("user_agent", "viewport", "device_scale_factor", "is_mobile", "has_touch") if name in found}
            options["user_agent"] = f"{options['user_agent']} {user_agent}" if user_agent.startswith(PROGRAM_NAME) else user_agent
        if self.viewport is not None:
            options["viewport"] = {"width": self.viewport[0], "height": self.viewport[1]}
        if self.locale is not None:
            options["locale"] = self.locale
        if self.timezone is not None:
            options["timezone_id"] = self.timezone
        return options
