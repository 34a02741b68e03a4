"""Test the connections that settings name, for `check --connect` and `doctor`.

They are the database, the object store, proxies, logins, the language model, the timestamp server and the mail server.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterator
from functools import partial

from pipeline.cli.service_status import ask_status
from pipeline.errors import HeartbeatBusyError, HeartbeatError, PipelineError
from pipeline.heartbeat.connections.listeners import ListenOptions, bind_tcp
from pipeline.mail.transports import open_transport
from pipeline.session import UNCHECKABLE, open_session
from pipeline.session.proxies.config import ENVIRONMENT, proxy_urls, shown_proxy
from pipeline.settings import Settings
from pipeline.store import open_store_of
from pipeline.store.files.object_storage import storage_of
from pipeline.store.files.open_files import require_extra
from pipeline.store.from_settings import session_files_of

_RECEIVE_BUFFER_BYTES = 65536


def try_connections(settings: Settings) -> Iterator[tuple[str, PipelineError | None]]:
    """Test the database, the object store, the port of the heartbeat, each proxy, each login, the language model, the timestamp server and the mail server.

    For each test, yields the name of what was tested, and the error or, if the test succeeded, None.
    """
    yield "database", _problem(lambda: open_store_of(settings).close())
    if settings.pipeline.storage is not None:
        yield "storage", _problem(partial(_try_storage, settings))
    if settings.heartbeat.on_port and settings.heartbeat.port:
        yield "heartbeat", _problem(partial(_try_port, settings))
    yield from _try_proxies(settings)
    for name, spider in settings.spiders.items():
        if spider.login is not None:
            notes: list[str] = []
            problem = _problem(lambda name=name, notes=notes: notes.append(_log_in(settings, name)))  # type: ignore[misc]
            yield f"spiders.{name}.login{''.join(notes)}", problem
    if settings.ai is not None:
        said: list[str] = []
        problem = _problem(lambda: said.append(_ask_model(settings)))
        yield f"ai{''.join(said)}", problem
    if settings.archive.timestamp_url is not None:
        yield "archive.timestamp_url", _problem(partial(_get_timestamp, settings))
    yield "mail", _problem(partial(_connect_mail, settings))


def _try_storage(settings: Settings) -> None:
    """Raise StoreError if objects cannot be written, read and deleted."""
    require_extra()
    from pipeline.store.files.object_probe import probe
    storage = storage_of(settings)
    assert storage is not None
    probe(storage)


def _ask_model(settings: Settings) -> str:
    """Ask the language model; return what its server said, such as " (…)"."""
    from pipeline.ai.probe import probe
    with contextlib.closing(open_store_of(settings)) as store:
        return f" ({probe(settings, store)})"


def _get_timestamp(settings: Settings) -> None:
    """Raise FetchError if the timestamp server gives no valid token. It is asked for one of a random number."""
    from pipeline.archive.housekeeping.timestamping import ask_server
    ask_server(settings, secrets.token_hex(32))


def _try_port(settings: Settings) -> None:
    """Raise HeartbeatError if the service does not run and its port cannot be used, for example because another program uses it."""
    try:
        ask_status(settings)
    except HeartbeatBusyError:
        return  # the service runs
    except HeartbeatError:
        options = ListenOptions(settings.heartbeat.host, settings.heartbeat.port)
        for opened in asyncio.run(bind_tcp(options, receive_buffer_bytes=_RECEIVE_BUFFER_BYTES)):
            opened.close()


def _connect_mail(settings: Settings) -> None:
    with contextlib.closing(open_transport(settings, settings.data_dir)) as transport:
        transport.connect()


def _log_in(settings: Settings, name: str) -> str:
    """Log in to a spider's site; return a remark for the output, such as " (…)", or "" if there is none."""
    table = settings.spiders[name].login
    with session_files_of(settings, name) as stored:
        session = open_session(name, settings.spiders[name], settings, stored)
        made = session.ensure_login()
    if not made and table is not None and table.sends:
        return " (the session is still logged in, so the password was not tried)"
    return "" if session.checkable else f" ({UNCHECKABLE})"


def _problem(attempt: Callable[[], object]) -> PipelineError | None:
    """Call the function `attempt`, and return the PipelineError that it raises; None if it raises none."""
    try:
        attempt()
    except PipelineError as error:
        return error
    return None


def _try_proxies(settings: Settings) -> Iterator[tuple[str, PipelineError | None]]:
    """Test each proxy of each spider by requesting the first start URL of the spider through the proxy.

    If a spider uses a pool, all proxies of the pool are tested. For each test, yields the name of the proxy, and the error or None.
    """
    for name, spider in settings.spiders.items():
        if spider.proxy in (None, ENVIRONMENT) or not spider.start:
            continue
        try:
            urls = proxy_urls(spider.proxy, settings)
        except PipelineError as error:  # the proxy's password cannot be read
            yield f"proxies.{spider.proxy}", error
            continue
        for proxy in urls:
            yield (f"proxies.{spider.proxy} ({shown_proxy(proxy)}) for spiders.{name}",
                   _problem(partial(_try_proxy, settings, name, proxy)))


def _try_proxy(settings: Settings, name: str, proxy: str) -> None:
    spider = settings.spiders[name]
    with session_files_of(settings, name) as stored:
        open_session(name, spider, settings, stored).try_proxy(proxy, spider.start[0].url)
