"""What robots.txt lets files be fetched (RFC 9309). Pages are judged in Scrapy's middleware, by the same rules; what it has
read is not asked again."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable

from pipeline.errors import FetchError, PipelineError
from pipeline.session.answer import Answer
from pipeline.session.robots_rules import RobotsRules
from pipeline.session.shown import shown_url
from pipeline.urls import absolute, bare

ROBOT = "crawl-to-inbox"
"""Our name in robots.txt."""

Allows = Callable[[str], bool]


class Robots:
    """One look at each host a run; threads may share it. look: fetches a URL; on_delay: told of a Crawl-delay in seconds."""

    def __init__(self, look: Callable[[str], Answer], *, on_delay: Callable[[str, float], None]) -> None:
        self._look = look
        self._on_delay = on_delay
        self._known: dict[str, Allows] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def learn(self, url: str, allows: Allows) -> None:
        """What somebody else has read of the host of `url`."""
        self._known[_robots_url(url)] = allows

    def check(self, url: str) -> None:
        """Raises FetchError for what is forbidden. What cannot be read forbids nothing, nor is a URL that is none forbidden."""
        url = absolute(url)
        if not url:
            return
        place = _robots_url(url)
        with self._locks[place]:
            if place not in self._known:
                self._known[place] = self._read(place)
        if not self._known[place](url):
            raise FetchError("robots.txt forbids it", where=shown_url(url), fix="set robots = false for this spider if you may")

    def _read(self, place: str) -> Allows:
        try:
            answer = self._look(place)
        except PipelineError:  # told of the file itself, if that cannot be had either
            return lambda url: True
        if answer.status != 200:
            return lambda url: True
        rules = RobotsRules(answer.body, ROBOT)
        if rules.delay_s:
            self._on_delay(place, rules.delay_s)
        return rules.allows


def _robots_url(url: str) -> str:
    return "/".join([*bare(url).split("/", 3)[:3], "robots.txt"])
