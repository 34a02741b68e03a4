"""Filters of the templates: scraped text, links, states and figures as pages show them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import quote

from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from pipeline.heartbeat.http.operations.files import is_picture, path_to_show
from pipeline.model import Run
from pipeline.store.console.lists import DownloadRow
from pipeline.store.console.run_rows import RunDownload
from pipeline.text import escape_line, shown_url, span_for_people

_LONGEST_VALUE = 120
_PAGES_OF_COMMANDS = {"logs": "/runs/{run}/log", "outbox": "/outbox", "check": "/settings", "login": "/spiders/{spider}#session", "mend": "/spiders/{spider}/mend", "try": "/spiders/{spider}/edit",
                      "history": "/spiders/{spider}", "items": "/spiders/{spider}/items", "run": "/spiders/{spider}"}
"""The page on which a person does what a command does. Texts of errors name commands, because mails and terminals have no pages."""
_COMMAND = re.compile(rf"`(pipeline ({'|'.join(_PAGES_OF_COMMANDS)})(?: [^`]*)?)`")


def percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def state_of(run: Run) -> str:
    """Return the state of a run as text: "waiting to start", "running", "stopping…" or its outcome."""
    if run.outcome is not None:
        return run.outcome.value.replace("_", " ")
    if run.stop_requested_at is not None:
        return "stopping…"
    return "running" if run.started_at is not None else "waiting to start"


def took(run: Run) -> str:
    if run.started_at is None:
        return "–"
    return span_for_people(((run.ended_at or datetime.now(UTC)) - run.started_at).total_seconds())


@pass_context
def plain(context: Context, text: str) -> str:
    """Return scraped text on one line, with secrets masked and control characters escaped."""
    masked: str = context["mask"](" ".join(text.split()))
    return escape_line(masked)


@pass_context
def masked(context: Context, line: str) -> str:
    """Return a line of text with its white space, with secrets masked and control characters escaped."""
    found: str = context["mask"](line)
    return escape_line(found)


@pass_context
def short(context: Context, value: object) -> str:
    """Return a scraped value on one line, cut after 120 characters."""
    return _short("" if value is None else plain(context, str(value)))


@pass_context
def site_link(context: Context, url: str) -> Markup:
    """Return a URL as a link to the site; as text if it is none of http(s), or has parts that are masked."""
    shown = shown_url(url)
    text = plain(context, shown)
    if shown != url or text != url or not url.startswith(("http://", "https://")):
        return escape(text)
    return Markup('<a href="{}" rel="noreferrer">{}</a>').format(url, text)


def linked(text: str, run: Run) -> Markup:
    """Return a text in which each command that a page can do instead is a link to this page. run: the run that the text is about."""
    parts, end = [], 0
    for found in _COMMAND.finditer(text):
        path = _PAGES_OF_COMMANDS[found[2]].format(spider=quote(run.spider), run=run.id)
        parts += [escape(text[end:found.start()]), Markup('<a href="{}"><code>{}</code></a>').format(path, found[1])]
        end = found.end()
    return Markup("").join([*parts, text[end:]])


def shown_at(file: DownloadRow | RunDownload) -> str:
    """Return the path at which a browser shows a downloaded file; "" if it can only be saved."""
    return path_to_show(file.key, file.name) if file.key else ""


def picture(file: DownloadRow | RunDownload) -> str:
    """Return the path of a downloaded picture; "" if the file is none."""
    return shown_at(file) if is_picture(file.name) else ""


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE - 1] + "…"
