"""What the processes of one run have in common beside the frontier: cookies, the login, hosts to be left alone."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import dataclass, field

from pipeline.crawl.context import CrawlContext
from pipeline.errors import PipelineError
from pipeline.model import Page
from pipeline.session.cookies.cookie import Cookie, Place
from pipeline.store.crawl.frontier import Queued

_LENGTH_BYTES = 4


@dataclass
class News:
    """What one process tells another of the session. epoch, token: of its login; paused: as in HostBudget."""

    epoch: int = 0
    token: str = ""
    cookies: list[Cookie] = field(default_factory=list)
    removed: list[Place] = field(default_factory=list)
    paused: dict[str, float] = field(default_factory=dict)
    counted_in: list[str] = field(default_factory=list)


@dataclass
class Message:
    """Leader to mate: rows to fetch. Mate to leader: their pages, an epoch it found expired, what ends it."""

    news: News
    rows: list[Queued] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)
    expired: int | None = None
    fatal: PipelineError | None = None


class Shared:
    """One end of the pair of sessions that two processes keep the same. The first news have all there is."""

    def __init__(self, context: CrawlContext) -> None:
        self._context = context
        self._known: dict[Place, Cookie] = {}
        self._jar_version = -1
        self._paused: dict[str, float] = {}

    def news(self) -> News:
        """What changed here since the last news in either direction."""
        session = self._context.session
        news = News(
            session.standing.proved if session.standing is not None else 0, session.token,
            paused={host: until for host, until in list(self._context.budget.paused.items()) if until > self._paused.get(host, 0.0)})
        version = session.jar.version
        if version != self._jar_version:
            here = {cookie.place: cookie for cookie in session.jar}
            news.cookies = [cookie for place, cookie in here.items() if self._known.get(place) != cookie]
            news.removed = [place for place in self._known if place not in here]
            self._known, self._jar_version = here, version
        self._paused |= news.paused
        news.counted_in = list(self._context.counted_in)
        return news

    def take(self, news: News) -> None:
        """Make it so here; what belongs to a login that is over stays out."""
        session = self._context.session
        self._context.budget.pause(news.paused)
        for host in news.counted_in:
            self._context.count_in(host)
        for host, until in news.paused.items():
            self._paused[host] = max(until, self._paused.get(host, 0.0))
        if news.epoch < self._epoch:
            return
        session.jar.add(news.cookies)
        self._known |= {cookie.place: cookie for cookie in news.cookies}
        for place in news.removed:
            self._known.pop(place, None)
            session.jar.remove(place)
        session.adopt(news.token, news.epoch)

    @property
    def _epoch(self) -> int:
        standing = self._context.session.standing
        return standing.epoch if standing is not None else 0


def packed(message: Message) -> bytes:
    """For the socket between two of our own processes, and for nothing else: it is a pickle."""
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


async def received(reader: asyncio.StreamReader) -> Message | None:
    """The next message; None when the other process is gone."""
    try:
        length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
        message = pickle.loads(await reader.readexactly(length))  # noqa: S301  from our own process
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    assert isinstance(message, Message)
    return message
