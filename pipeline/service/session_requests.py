"""Shows and clears a spider's session for the pages, by the command `pipeline cookies`.

The modules of sessions would take more memory than the rest of the service.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

from pipeline.errors import PipelineError, UsageError
from pipeline.heartbeat.http.operations.service_actions import HostCookies, SessionState
from pipeline.settings import Settings

_USAGE = 2
"""The exit code of a command that does nothing, because it may not."""
Command = Callable[..., Awaitable[tuple[int, list[str]]]]


async def session_state(command: Command, settings: Settings, spider: str) -> SessionState:
    """Return which hosts have cookies. Raises PipelineError."""
    lines = await _lines(command, settings, spider, "show", "--json")
    try:
        found = json.loads(lines[-1])
    except (ValueError, IndexError) as error:
        raise PipelineError("the cookies could not be read", where=spider) from error
    return SessionState(_by_host([each for each in found["cookies"] if not each["expired"]]), found["storage"])


async def clear_cookies(command: Command, settings: Settings, spider: str) -> str:
    """Clear the session; return what the command says. Raises UsageError while a run uses it."""
    return (await _lines(command, settings, spider, "clear"))[-1]


async def _lines(command: Command, settings: Settings, spider: str, action: str, *options: str) -> Sequence[str]:
    if spider not in settings.spiders:
        raise UsageError(f"no spider named {spider!r}", where="settings.toml: spiders")
    code, lines = await command("cookies", action, *options, "--settings", settings.file, "--", spider)
    if code != 0:
        raise (UsageError if code == _USAGE else PipelineError)(lines[-1] if lines else f"`pipeline cookies {action}` failed")
    return lines


def _by_host(cookies: Sequence[dict[str, Any]]) -> list[HostCookies]:
    hosts: dict[str, list[datetime | None]] = {}
    for cookie in cookies:
        ends = datetime.fromisoformat(cookie["expires"]) if cookie["expires"] else None
        hosts.setdefault(cookie["domain"].lstrip("."), []).append(ends)
    return [HostCookies(host, len(ends), min(filter(None, ends), default=None)) for host, ends in sorted(hosts.items())]
