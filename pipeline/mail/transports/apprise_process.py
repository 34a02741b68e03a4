"""The program that sends texts to notification channels with Apprise.

`pipeline.mail.transports.channel` runs this file as a process of its own and kills it if a service keeps it busy for too long. The
program reads requests from standard input and writes answers to standard output, each a JSON object on one line:

    {"url": "ntfy://…"}                      check the URL; nothing is sent
    {"url": "ntfy://…", "text": {…}}         send a text (see `pipeline.mail.channels.text.ChannelText`)
    {"error": "", "fix": "", "retry": false, "retry_after_s": 0, "service": "ntfy"}

The program imports nothing else of the pipeline, so that it starts fast.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import apprise
import requests

READ_TIMEOUT_S = 15.0
"""How long to wait for a reply, unless the URL says it (`rto`). After Apprise's default of 4 s, a slow service would get texts twice."""
MEMORY_BYTES = 1 << 30
LOCAL = frozenset({"blink1", "dbus", "gio", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows"})
"""Schemas that start a program or show a text on this machine, and send nothing to a person elsewhere."""
SHOWS_MARKDOWN = frozenset({"discord", "fluxer", "guilded", "mmost", "mmosts", "nctalk", "nctalks", "revolt", "zulip"})
"""Schemas whose services show plain text as Markdown."""
RETRIED = frozenset({408, 425, 429})
"""Status codes 4xx after which another attempt can succeed."""
HIDDEN = "****"

_PING = re.compile(r"@(?=\S)|<(?=\S)|\](?=\()|\[(?=CQ:)|\((?=(?:met|rol|chn)\))")
"""The first character of what a service could read as a mention of people, or as a link with another text."""
_MARKDOWN = re.compile(r"[\\*_~`|\[\]]|^(?=[#>])")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
ZERO_WIDTH_SPACE = "\u200b"


def plain(text: str, *, escape_markdown: bool) -> str:
    """Return a scraped text in a form that mentions nobody and contains no links and no markup."""
    text = _PING.sub(lambda found: found[0] + ZERO_WIDTH_SPACE, text)
    return _MARKDOWN.sub(lambda found: "\\" + found[0], text) if escape_markdown else text


def shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:max(limit - 1, 0)].rstrip() + "…"


def fitted(text: Mapping[str, Any], *, title_limit: int, body_limit: int, line_limit: int = 0) -> tuple[str, str]:
    """Return the title and the body of a text, cut to the limits of a service.

    Whole lines are left out, and the body says how many. title_limit: 0 if the service shows titles in the body. line_limit: largest
    number of lines of the body; 0 means no limit.
    """
    title = shortened(text["subject"], title_limit or max(body_limit // 2, 20))
    room = body_limit - (0 if title_limit else len(title) + 2)
    lines: Sequence[str] = text["lines"]
    more: Sequence[str] = text["more"]
    counts = range(len(lines), 0, -1)
    for link, shown in [*((link, count) for link in dict.fromkeys((text["link"], "")) for count in counts), (text["link"], 0), ("", 0)]:
        parts = [*lines[:shown], *filter(None, (more[shown], link))]
        body = "\n".join(parts)
        if len(body) <= room and (not line_limit or len(parts) <= line_limit):
            break
    else:
        body = ""
    return (title, body) if body else (title if title_limit else "", title)


def observe(exchanges: list[requests.Response | requests.RequestException]) -> None:
    """Make each HTTP request of this process append its response or its error to `exchanges`.

    Apprise itself reports no more than that a text was not sent, and log messages.
    """
    send = requests.Session.send

    def observed(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        try:
            response = send(session, request, **options)
        except requests.RequestException as error:
            exchanges.append(error)
            raise
        exchanges.append(response)
        return response

    requests.Session.send = observed  # type: ignore[method-assign, assignment]


def mask_of(url: str, shown_url: str) -> Callable[[str], str]:
    """Return a function that masks the parts of a channel's URL in a text. The host stays if Apprise does not count it as a secret."""
    whole = f"{url} {unquote(url)}"
    host = urlsplit(shown_url).hostname or ""
    parts = {part for part in re.split(r"[/:@?&=#,;+\s]+", whole.partition("://")[2]) if len(part) >= 4 and part.lower() != host.lower()}
    ordered = sorted({url, *parts}, key=len, reverse=True)

    def mask(text: str) -> str:
        for part in ordered:
            text = text.replace(part, HIDDEN)
        return text

    return mask


class UnusableError(Exception):
    """The URL cannot be used. The text has the form "what is wrong; how to fix it"."""


class Channels:
    """The channels of this process, by URL. A channel is kept, because Apprise waits between its texts as long as the service demands."""

    def __init__(self) -> None:
        self._opened: dict[str, apprise.NotifyBase] = {}
        self._exchanges: list[requests.Response | requests.RequestException] = []
        self._asset = apprise.AppriseAsset(app_id="crawl-to-inbox", app_desc="crawl-to-inbox", app_url="", image_url_mask="", image_url_logo="",
                                           service_timeout=0, storage_mode="memory", http_redirects=False, interpret_emojis=False)
        observe(self._exchanges)

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        url = request["url"].strip()
        try:
            server = self._open(url)
        except UnusableError as error:
            what, _, fix = str(error).partition("; ")
            return {"error": what, "fix": fix}
        answer: dict[str, Any] = {"service": str(server.service_name)}
        return answer | self._send(server, url, request["text"]) if "text" in request else answer

    def _open(self, url: str) -> apprise.NotifyBase:
        """Return the channel of a URL. Raises UnusableError."""
        if url in self._opened:
            return self._opened[url]
        schema = url.partition("://")[0].lower()
        if schema in LOCAL:
            raise UnusableError(f"{schema}:// shows texts on this machine only; use a channel that people read elsewhere")
        server = apprise.Apprise.instantiate(url, asset=self._asset) if "://" in url else None
        if not isinstance(server, apprise.NotifyBase):
            raise UnusableError("Apprise does not understand the URL of the channel; write it as the list of services of Apprise says, such as "
                             "slack://TokenA/TokenB/TokenC or ntfys://HOST/TOPIC")
        if not server.enabled:
            raise UnusableError(f"Apprise cannot use {schema}:// on this machine; install what {server.service_name} needs")
        if not server.verify_certificate:
            raise UnusableError("verify=no in the URL of the channel turns the check of certificates off; remove it, and name the certificate "
                             "authority in the environment variable REQUESTS_CA_BUNDLE")
        targets = len(server) // (server.retry + 1)
        if targets > 1:
            raise UnusableError(f"the URL of the channel has {targets} targets; give each an entry of its own in `notify`, so that a text that one "
                             "target refuses is not sent to the others again")
        server.retry, server.optional, server.overflow_mode = 0, False, apprise.OverflowMode.TRUNCATE
        if "rto=" not in url:
            server.socket_read_timeout = READ_TIMEOUT_S
        self._opened[url] = server
        return server

    def _send(self, server: apprise.NotifyBase, url: str, text: Mapping[str, Any]) -> dict[str, Any]:
        form = server.resolve_format(apprise.NotifyFormat.TEXT)
        is_markdown = form is apprise.NotifyFormat.MARKDOWN
        schemas = server.schemas()  # type: ignore[no-untyped-call]
        escape = is_markdown or (form is apprise.NotifyFormat.TEXT and not SHOWS_MARKDOWN.isdisjoint(schemas))
        safe = {**text, "subject": plain(text["subject"], escape_markdown=escape),
                "lines": [f"• {plain(line, escape_markdown=escape)}" for line in text["lines"]]}
        # Apprise converts plain text to HTML, which makes the text longer.
        body_limit = server.body_maxlen // 2 if form is apprise.NotifyFormat.HTML else server.body_maxlen
        title, body = fitted(safe, title_limit=0 if server.overflow_amalgamate_title else server.title_maxlen, body_limit=body_limit,
                             line_limit=server.body_max_line_count)
        self._exchanges.clear()
        sender = apprise.Apprise(asset=self._asset)
        sender.add(server)
        kind = apprise.NotifyType.WARNING if text["kind"] == "alert" else apprise.NotifyType.INFO
        result = sender.notify(body=body, title=title, notify_type=kind,
                               body_format=apprise.NotifyFormat.MARKDOWN if is_markdown else apprise.NotifyFormat.TEXT)
        if result:
            return {"error": ""}
        said = [entry.message for entry in result.logs() if entry.level in {"WARNING", "ERROR", "CRITICAL"}]
        mask = mask_of(url, server.url(privacy=True))  # type: ignore[no-untyped-call]
        answer = self._failure(said, server.request_timeout)
        return answer | {"error": mask(answer["error"])}

    def _failure(self, said: Sequence[str], timeouts_s: tuple[float, float]) -> dict[str, Any]:
        """Describe why a text was not sent. said: Apprise's warnings."""
        last = self._exchanges[-1] if self._exchanges else None
        if isinstance(last, requests.RequestException):
            return {"error": _error_text(last, timeouts_s), "retry": True}
        if last is None or 200 <= last.status_code < 300:
            return {"error": f"the text was not sent: {said[-1] if said else 'Apprise gives no reason'}", "retry": True}
        status, reply = last.status_code, " ".join(_CONTROLS.sub(" ", last.text[:400]).split())
        error = f"the service replied {status} {last.reason or ''}".rstrip()
        if reply and not reply.startswith("<"):
            error += f": {reply[:200]}"
        fix = ""
        if 300 <= status < 400:
            fix = "the service moved; correct the URL of the channel"
        elif 400 <= status < 500 and status not in RETRIED:
            fix = "check the URL and the token of the channel"
        return {"error": error, "fix": fix, "retry": status in RETRIED or status >= 500, "retry_after_s": _retry_after_s(last)}


def _retry_after_s(response: requests.Response) -> float:
    """Return the seconds of the Retry-After header, which is a number or a date (RFC 9110, 10.2.3); 0 if there are none."""
    value = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
        return float(value)
    try:
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except ValueError:
        return 0.0


def _error_text(error: requests.RequestException, timeouts_s: tuple[float, float]) -> str:
    """Describe an error of the connection without the URL, which is a secret."""
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {timeouts_s[0]:g} s"
    if isinstance(error, requests.Timeout):
        return f"no reply within {timeouts_s[1]:g} s"
    chain: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and found not in chain:
        chain.append(found)
        found = found.__cause__ or found.__context__
    reasons = [cause.strerror for cause in chain if isinstance(cause, OSError) and isinstance(cause.strerror, str)]
    what = "the certificate cannot be verified" if isinstance(error, requests.exceptions.SSLError) else "the connection failed"
    return f"{what}: {(reasons[-1] if reasons else type(chain[-1]).__name__)}"


def main() -> None:
    with contextlib.suppress(ValueError, OSError):  # not every system can limit the memory
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    # What a plug-in prints must not get between the answers.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        channels = Channels()
        for line in sys.stdin:
            answers.write(json.dumps(channels.answer(json.loads(line))) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
