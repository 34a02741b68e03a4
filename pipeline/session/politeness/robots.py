"""Fetches and applies robots.txt (RFC 9309) for downloads, and holds the result of one origin.

Pages use pipeline.crawl.middlewares.robots. Both share what they have read.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.errors import FetchError, PipelineError, ProxyError, SessionError, TlsError
from pipeline.session.page import Answer
from pipeline.session.politeness.robots_rules import RobotsRules
from pipeline.text import shown_url
from pipeline.urls import absolute, bare

ROBOT = "crawl-to-inbox"
"""The name of this crawler in robots.txt."""
FORBIDDEN = "robots.txt forbids it"
PARSED_BYTES = 512_000
"""How much of a robots.txt is parsed. RFC 9309, 2.5 requires at least 500 KiB."""

_FIX = "the next run asks again; set robots = false for this spider if you may"


@dataclass(frozen=True)
class RobotsTxt:
    """The robots.txt of one origin. rules: None if everything is allowed; failure: why it could not be read (nothing is fetched)."""

    rules: RobotsRules | None = None
    failure: PipelineError | None = None

    @classmethod
    def of_answer(cls, status: int, body: bytes) -> RobotsTxt:
        """A missing robots.txt allows everything (RFC 9309, 2.3.1.3); a server error allows nothing (2.3.1.4)."""
        if status >= 500:
            return cls(failure=FetchError(f"HTTP {status}"))
        return cls(RobotsRules(body[:PARSED_BYTES], ROBOT)) if 200 <= status < 300 else cls()

    @classmethod
    def of_error(cls, error: PipelineError) -> RobotsTxt:
        """An invalid redirect counts as a missing robots.txt (2.3.1.2); an unavailable server allows nothing."""
        if isinstance(error, FetchError) and not isinstance(error, TlsError) and not error.retry:
            return cls()
        return cls(failure=error)

    @property
    def delay_s(self) -> float | None:
        """The Crawl-delay in seconds; None for none."""
        return self.rules.delay_s if self.rules is not None else None

    def check(self, url: str) -> None:
        """Raises FetchError for a forbidden URL, and while robots.txt cannot be read."""
        if self.failure is not None:
            raise _nothing_for_now(self.failure, url)
        if self.rules is not None and not self.rules.allows(url):
            raise FetchError(FORBIDDEN, where=shown_url(url), fix="set robots = false for this spider if you may")


def _nothing_for_now(failure: PipelineError, url: str) -> PipelineError:
    """The error while robots.txt cannot be read. It keeps the family of a proxy, TLS or session error."""
    kind = next((kind for kind in (ProxyError, TlsError, SessionError) if isinstance(failure, kind)), FetchError)
    return kind(f"robots.txt cannot be read, so that nothing is fetched for now: {failure.what}",
                where=failure.where if kind is ProxyError else shown_url(url), fix=_FIX if kind is FetchError else failure.fix, retry=True)


class Robots:
    """The robots.txt of all origins, each fetched once in a run. Thread-safe. look: fetches a URL; on_delay: receives a Crawl-delay."""

    def __init__(self, look: Callable[[str], Answer], *, on_delay: Callable[[str, float], None]) -> None:
        self._look = look
        self._on_delay = on_delay
        self._known: dict[str, RobotsTxt] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def learn(self, place: str, robots: RobotsTxt) -> None:
        """Add a robots.txt that was read elsewhere. place: its URL."""
        self._known[place] = robots

    def check(self, url: str) -> None:
        """Raises FetchError for a forbidden URL. An invalid URL is not forbidden."""
        url = absolute(url)
        if not url:
            return
        place = robots_url(url)
        with self._locks[place]:
            if place not in self._known:
                self._known[place] = self._read(place)
        self._known[place].check(url)

    def _read(self, place: str) -> RobotsTxt:
        try:
            answer = self._look(place)
        except PipelineError as error:
            return RobotsTxt.of_error(error)
        robots = RobotsTxt.of_answer(answer.status, answer.body)
        if robots.delay_s:
            self._on_delay(place, robots.delay_s)
        return robots


def robots_url(url: str) -> str:
    """The URL of the robots.txt for an absolute URL (2.3), without credentials."""
    return "/".join([*bare(url).split("/", 3)[:3], "robots.txt"])
