"""What robots.txt lets be fetched (RFC 9309): of one origin, and for files. Pages ask in pipeline.crawl.middlewares.robots; what one of
the two has read, the other does not ask for again."""

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
"""Our name in robots.txt."""
FORBIDDEN = "robots.txt forbids it"
PARSED_BYTES = 512_000
"""Of a robots.txt; RFC 9309, 2.5 asks for 500 KiB at least."""

_FIX = "the next run asks again; set robots = false for this spider if you may"


@dataclass(frozen=True)
class RobotsTxt:
    """One origin's robots.txt. rules: None where all is allowed; failure: why it is not known, so that nothing is fetched for now."""

    rules: RobotsRules | None = None
    failure: PipelineError | None = None

    @classmethod
    def of_answer(cls, status: int, body: bytes) -> RobotsTxt:
        """A server that has none allows all (RFC 9309, 2.3.1.3); one that fails, nothing (2.3.1.4)."""
        if status >= 500:
            return cls(failure=FetchError(f"HTTP {status}"))
        return cls(RobotsRules(body[:PARSED_BYTES], ROBOT)) if 200 <= status < 300 else cls()

    @classmethod
    def of_error(cls, error: PipelineError) -> RobotsTxt:
        """A redirect that leads nowhere is as good as none (2.3.1.2); a server that cannot be reached allows nothing."""
        if isinstance(error, FetchError) and not isinstance(error, TlsError) and not error.retry:
            return cls()
        return cls(failure=error)

    @property
    def delay_s(self) -> float | None:
        """Crawl-delay; None for none."""
        return self.rules.delay_s if self.rules is not None else None

    def check(self, url: str) -> None:
        """Raises FetchError for what is forbidden, also for now only."""
        if self.failure is not None:
            raise _nothing_for_now(self.failure, url)
        if self.rules is not None and not self.rules.allows(url):
            raise FetchError(FORBIDDEN, where=shown_url(url), fix="set robots = false for this spider if you may")


def _nothing_for_now(failure: PipelineError, url: str) -> PipelineError:
    """Of the same family where a proxy, a certificate or a login is at fault, which stops pages, too."""
    kind = next((kind for kind in (ProxyError, TlsError, SessionError) if isinstance(failure, kind)), FetchError)
    return kind(f"robots.txt cannot be read, so that nothing is fetched for now: {failure.what}",
                where=failure.where if kind is ProxyError else shown_url(url), fix=_FIX if kind is FetchError else failure.fix, retry=True)


class Robots:
    """For files: each origin is asked once a run; threads may share it. look: fetches a URL; on_delay: told of a Crawl-delay."""

    def __init__(self, look: Callable[[str], Answer], *, on_delay: Callable[[str, float], None]) -> None:
        self._look = look
        self._on_delay = on_delay
        self._known: dict[str, RobotsTxt] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def learn(self, place: str, robots: RobotsTxt) -> None:
        """What was read of robots.txt at `place`."""
        self._known[place] = robots

    def check(self, url: str) -> None:
        """Raises FetchError for what is forbidden. A URL that is none is not forbidden."""
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
    """Where the robots.txt of an absolute URL is (2.3), without credentials."""
    return "/".join([*bare(url).split("/", 3)[:3], "robots.txt"])
