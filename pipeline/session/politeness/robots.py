"""Fetches robots.txt (RFC 9309), and applies its rules to file downloads.

For page requests, pipeline.crawl.middlewares.robots applies robots.txt. A robots.txt that was read for pages is not fetched again
for downloads.
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
"""The user agent name of this crawler in robots.txt."""
FORBIDDEN = "robots.txt forbids this URL"
PARSED_BYTES = 512_000
"""The maximum number of bytes of a robots.txt that are parsed. RFC 9309, 2.5 requires at least 500 KiB."""

_FIX = "the next run tries again; set robots = false for this spider if you have permission"


@dataclass(frozen=True)
class RobotsTxt:
    """The robots.txt of one origin.

    rules: the parsed rules; None means that everything is allowed. failure: the error if robots.txt could not be read, otherwise
    None. After a failure, no URL of the origin may be fetched.
    """

    rules: RobotsRules | None = None
    failure: PipelineError | None = None

    @classmethod
    def of_answer(cls, status: int, body: bytes) -> RobotsTxt:
        """Return the RobotsTxt for a response to a request for robots.txt.

        If robots.txt is missing, every URL is allowed (RFC 9309, 2.3.1.3); after a server error, no URL is allowed (2.3.1.4).
        """
        if status >= 500:
            return cls(failure=FetchError(f"HTTP {status}"))
        return cls(RobotsRules(body[:PARSED_BYTES], ROBOT)) if 200 <= status < 300 else cls()

    @classmethod
    def of_error(cls, error: PipelineError) -> RobotsTxt:
        """Return the RobotsTxt for a failed request for robots.txt.

        After an invalid redirect, every URL is allowed (RFC 9309, 2.3.1.2); if the server is unavailable, no URL is allowed.
        """
        if isinstance(error, FetchError) and not isinstance(error, TlsError) and not error.retry:
            return cls()
        return cls(failure=error)

    @property
    def delay_s(self) -> float | None:
        """The Crawl-delay in seconds; None if robots.txt has none."""
        return self.rules.delay_s if self.rules is not None else None

    def check(self, url: str) -> None:
        """Raise FetchError if robots.txt forbids `url`.

        If robots.txt could not be read, raise ProxyError, TlsError, SessionError or FetchError, depending on the failure.
        """
        if self.failure is not None:
            raise _nothing_for_now(self.failure, url)
        if self.rules is not None and not self.rules.allows(url):
            raise FetchError(FORBIDDEN, where=shown_url(url), fix="set robots = false for this spider if you have permission")


def _nothing_for_now(failure: PipelineError, url: str) -> PipelineError:
    """Return the error that says that `url` is not fetched because its robots.txt cannot be read.

    The error has the class of `failure` if `failure` is a ProxyError, a TlsError or a SessionError.
    """
    kind = next((kind for kind in (ProxyError, TlsError, SessionError) if isinstance(failure, kind)), FetchError)
    return kind(f"robots.txt cannot be read, so this run fetches nothing from the host: {failure.what}",
                where=failure.where if kind is ProxyError else shown_url(url), fix=_FIX if kind is FetchError else failure.fix, retry=True)


class Robots:
    """The robots.txt files of all origins, each fetched once in a run. Thread-safe.

    look: a function that fetches a URL; on_delay: a function that is called for each robots.txt with a Crawl-delay, with the URL
    of the robots.txt and the delay in seconds.
    """

    def __init__(self, look: Callable[[str], Answer], *, on_delay: Callable[[str, float], None]) -> None:
        self._look = look
        self._on_delay = on_delay
        self._known: dict[str, RobotsTxt] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def learn(self, place: str, robots: RobotsTxt) -> None:
        """Store a robots.txt that the crawl has fetched, so that downloads do not fetch it again. place: the URL of the robots.txt."""
        self._known[place] = robots

    def check(self, url: str) -> None:
        """Raise FetchError if robots.txt forbids `url`. For an invalid URL, no error is raised.

        If robots.txt cannot be read, raise ProxyError, TlsError, SessionError or FetchError, depending on the failure.
        """
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
    """Return the URL of the robots.txt for an absolute URL (RFC 9309, 2.3), without credentials."""
    return "/".join([*bare(url).split("/", 3)[:3], "robots.txt"])
