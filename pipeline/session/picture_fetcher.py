"""Fetches the pictures of items with the sessions of their spiders, within a time limit."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from pipeline.errors import FetchError, PipelineError
from pipeline.model import PictureRequest
from pipeline.session.client import Client, fetch
from pipeline.session.from_settings import open_session
from pipeline.session.politeness.host_limits import HostBudget, HostLimits, host_limits_of
from pipeline.session.politeness.robots import Robots
from pipeline.session.session import Session
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.session_files import files_of
from pipeline.text import shown_url

logger = logging.getLogger(__name__)

_THREADS = 4
_PICTURE_S = 8.0
"""Maximum time for one picture, and timeout for connecting."""
_ACCEPT = "image/webp,image/png,image/jpeg,image/gif;q=0.9,*/*;q=0.1"


class PictureFetcher:
    """Fetches pictures with the cookies, headers, proxy, TLS settings, robots.txt rules and host limits of their spiders.

    No spider logs in for a picture, and cookies that come with a picture are not stored.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def __call__(self, wanted: Sequence[PictureRequest], *, limit_s: float, max_bytes: int) -> Mapping[PictureRequest, bytes | PipelineError]:
        """Return the body of each response, or the reason why there is none.

        A picture that has not arrived after `limit_s` seconds, or that has more than `max_bytes` bytes, has a reason.
        """
        work = _Work(self._store, self._settings, wanted, time.monotonic() + limit_s, max_bytes)
        threads = [threading.Thread(target=work.perform, name="pictures", daemon=True) for _ in range(min(_THREADS, len(wanted)))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, work.deadline - time.monotonic()))
        found = work.stop()
        if not any(thread.is_alive() for thread in threads):
            work.limits.release()
        late = FetchError(f"the picture did not arrive within {limit_s:.0f} s", retry=True)
        return {each: found.get(each, late) for each in wanted}


class _Site:
    """The session of one spider and the limits that its requests obey. Shared by all threads."""

    def __init__(self, store: Store, settings: Settings, name: str, limits: HostLimits) -> None:
        spider = settings.spiders.get(name)
        if spider is None:
            raise FetchError(f"the spider {name} is no longer in the settings")
        self.session: Session = open_session(name, spider, settings, files_of(store, name))
        self.budget = HostBudget(limits, delay_s=spider.delay, concurrency=spider.concurrency)
        self.robots = Robots(self.session.look, on_delay=self.budget.slow_down) if spider.robots else None


class _Work:
    """The pictures that are still to be fetched, and those that have arrived. deadline: a value of time.monotonic()."""

    def __init__(self, store: Store, settings: Settings, wanted: Sequence[PictureRequest], deadline: float, max_bytes: int) -> None:
        self.deadline = deadline
        self._store = store
        self._settings = settings
        self._max_bytes = max_bytes
        self.limits = host_limits_of(store)
        self._left: queue.SimpleQueue[PictureRequest] = queue.SimpleQueue()
        for each in wanted:
            self._left.put(each)
        self._found: dict[PictureRequest, bytes | PipelineError] = {}
        self._sites: dict[str, _Site | PipelineError] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def perform(self) -> None:
        """Fetch pictures until there are none left or the time is over. Runs in several threads."""
        clients: dict[str, Client] = {}
        while not self._stopped.is_set():
            try:
                wanted = self._left.get_nowait()
            except queue.Empty:
                break
            try:
                body: bytes | PipelineError = self._fetch(wanted, clients)
            except PipelineError as error:
                body = error
            except Exception as error:
                logger.exception("a picture could not be fetched because of a bug")
                body = FetchError(f"{type(error).__name__}: {error}")
            with self._lock:
                if not self._stopped.is_set():
                    self._found[wanted] = body
        for client in clients.values():
            client.close()

    def stop(self) -> Mapping[PictureRequest, bytes | PipelineError]:
        """End the threads as soon as possible, and return what has been found so far."""
        with self._lock:
            self._stopped.set()
            for site in self._sites.values():
                if isinstance(site, _Site):
                    site.budget.close()
            return self._found

    def _fetch(self, wanted: PictureRequest, clients: dict[str, Client]) -> bytes:
        site = self._site(wanted.spider)

        def before(url: str) -> None:
            if site.robots is not None:
                site.robots.check(url)
            site.budget.wait(url)
            if self._stopped.is_set():
                raise FetchError("the time limit for pictures is over", where=shown_url(url))

        if wanted.spider not in clients:
            clients[wanted.spider] = site.session.client_without_login(before, timeout_s=_PICTURE_S)
        with site.budget.permit_for_file(wanted.url, self._stopped):
            answer = fetch(clients[wanted.spider], "GET", wanted.url, headers={"Accept": _ACCEPT, **_referer(wanted)},
                           max_bytes=self._max_bytes, timeout_s=max(0.1, min(_PICTURE_S, self.deadline - time.monotonic())))
        if answer.status != 200:
            raise FetchError(f"HTTP {answer.status}", where=shown_url(wanted.url))
        return answer.body

    def _site(self, name: str) -> _Site:
        with self._lock:
            if name not in self._sites:
                try:
                    self._sites[name] = _Site(self._store, self._settings, name, self.limits)
                except PipelineError as error:
                    self._sites[name] = error
            found = self._sites[name]
        if isinstance(found, PipelineError):
            raise found
        return found


def _referer(wanted: PictureRequest) -> dict[str, str]:
    """Return the Referer header that browsers send to other origins: the origin of the page (Referrer Policy, strict-origin-when-cross-origin)."""
    page, picture = urlsplit(wanted.page), urlsplit(wanted.url)
    if page.scheme not in ("http", "https") or not page.hostname or (page.scheme == "https" and picture.scheme != "https"):
        return {}
    return {"Referer": f"{page.scheme}://{page.netloc.rpartition('@')[2]}/"}
