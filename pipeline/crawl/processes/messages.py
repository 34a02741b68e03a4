"""Messages between the processes of one run, with frontier rows, pages, and changes of the session."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import dataclass, field

from pipeline.crawl.context import CrawlContext, Failures
from pipeline.crawl.processes.session_exchange import StorageSync
from pipeline.errors import PipelineError
from pipeline.model import Page
from pipeline.session.cookies.cookie import Cookie, CookieKey
from pipeline.session.politeness.robots import RobotsTxt
from pipeline.session.web_storage import StorageEntries
from pipeline.store.crawl.frontier import Queued

_LENGTH_BYTES = 4


@dataclass
class SessionUpdate:
    """The changes of the session in one process, to be applied in another process.

    epoch: the number of the current login. token: the API token of the login. cookies: the new and changed cookies. removed: the
    removed cookies. storage: the entries of the web storage that have changed. paused: the time at which the pause of each host ends,
    as in HostBudget.paused. added_hosts: further hosts that links may lead to. robots: each robots.txt that was fetched, by URL.
    """

    epoch: int = 0
    token: str = ""
    cookies: list[Cookie] = field(default_factory=list)
    removed: list[CookieKey] = field(default_factory=list)
    storage: StorageEntries = field(default_factory=dict, repr=False)
    paused: dict[str, float] = field(default_factory=dict)
    added_hosts: list[str] = field(default_factory=list)
    robots: dict[str, RobotsTxt] = field(default_factory=dict)


@dataclass
class Message:
    """A message between the leader and a follower.

    rows: the frontier rows that a follower must fetch. concurrency: the follower's share of the setting `concurrency`, sent only
    in the first message to the follower.

    The other fields are sent only to the leader. pages: fetched pages. notes, failures: the notes and failures that were added to
    the follower's context since its last message. expired: if the follower has found that the login has expired, the epoch of
    this login; otherwise None. fatal: the error that is ending the follower, or None.
    """

    update: SessionUpdate
    rows: list[Queued] = field(default_factory=list)
    concurrency: int = 0
    pages: list[Page] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: Failures | None = None
    expired: int | None = None
    fatal: PipelineError | None = None


class SessionSync:
    """Keeps the sessions of two processes in sync. The first update contains the whole session."""

    def __init__(self, context: CrawlContext) -> None:
        self._context = context
        self._known: dict[CookieKey, Cookie] = {}
        self._jar_version = -1
        self._storage = StorageSync(context.session.storage) if context.session.storage is not None else None
        self._paused: dict[str, float] = {}
        self._robots: set[str] = set()

    def update(self) -> SessionUpdate:
        """Return what has changed in the session of this process since the last update was sent or received."""
        session = self._context.session
        update = SessionUpdate(
            session.login_state.proved if session.login_state is not None else 0, session.token,
            paused={host: until for host, until in list(self._context.budget.paused.items()) if until > self._paused.get(host, 0.0)})
        version = session.jar.version
        if version != self._jar_version:
            here = {cookie.key: cookie for cookie in session.jar}
            update.cookies = [cookie for place, cookie in here.items() if self._known.get(place) != cookie]
            update.removed = [place for place in self._known if place not in here]
            self._known, self._jar_version = here, version
        if self._storage is not None:
            update.storage = self._storage.changes()
        self._paused |= update.paused
        update.added_hosts = list(self._context.added_hosts)
        robots = self._context.known_robots
        if len(robots) > len(self._robots):
            update.robots = {url: each for url, each in robots.items() if url not in self._robots}
            self._robots.update(update.robots)
        return update

    def take(self, update: SessionUpdate) -> None:
        """Apply an update from the other process, except cookies and web storage that belong to an earlier login."""
        session = self._context.session
        self._context.budget.pause(update.paused)
        for host in update.added_hosts:
            self._context.add_host(host)
        self._context.known_robots |= update.robots
        self._robots.update(update.robots)
        for host, until in update.paused.items():
            self._paused[host] = max(until, self._paused.get(host, 0.0))
        if update.epoch < self._epoch:
            return
        session.jar.add(update.cookies)
        self._known |= {cookie.key: cookie for cookie in update.cookies}
        for place in update.removed:
            self._known.pop(place, None)
            session.jar.remove(place)
        if self._storage is not None:
            self._storage.take(update.storage)
        session.adopt(update.token, update.epoch)

    @property
    def _epoch(self) -> int:
        login_state = self._context.session.login_state
        return login_state.epoch if login_state is not None else 0


def packed(message: Message) -> bytes:
    """Return a message as bytes: a pickle, used only on sockets between two processes of this program."""
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


async def received(reader: asyncio.StreamReader) -> Message | None:
    """Wait for the next message and return it; None if the other process has closed the connection."""
    try:
        length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
        message = pickle.loads(await reader.readexactly(length))  # noqa: S301  sent by a process of this program
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    assert isinstance(message, Message)
    return message
