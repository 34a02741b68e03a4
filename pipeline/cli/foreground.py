"""The composition root of the commands that work in the foreground: run, digest, outbox, mail test, status …"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

from pipeline.errors import HeartbeatError, MailError, PipelineError, UsageError
from pipeline.heartbeat.client import client_for
from pipeline.mail import digest as mail_digest
from pipeline.mail import test_message
from pipeline.mail.formats.columns import Columns, table_format
from pipeline.mail.outbox import DeliveryHooks, RetryPolicy, deliver_due
from pipeline.mail.transports import open_transport
from pipeline.model import MessageState
from pipeline.price import is_price
from pipeline.session import UNCHECKABLE, open_session
from pipeline.session.proxies.config import ENVIRONMENT, proxy_urls, shown_proxy
from pipeline.settings import Settings
from pipeline.store import Store, open_store
from pipeline.store.crawl import items as stored_items
from pipeline.store.mail import digests
from pipeline.store.maintenance.clock_trust import ClockTrust
from pipeline.store.runs import runs
from pipeline.text import size_for_people


def utc_now() -> datetime:
    return datetime.now(UTC)


# check --connect


def try_connections(settings: Settings) -> Iterator[tuple[str, PipelineError | None]]:
    """Try the database, each proxy, each login and the mail server; what was tried and what went wrong, if anything."""
    yield "database", _problem(lambda: open_store(settings.data_dir, settings.database_url).close())
    yield from _try_proxies(settings)
    for name, spider in settings.spiders.items():
        if spider.login is not None:
            notes: list[str] = []
            problem = _problem(lambda name=name, notes=notes: notes.append(_log_in(settings, name)))  # type: ignore[misc]
            yield f"spiders.{name}.login{''.join(notes)}", problem
    yield "mail", _problem(partial(_reach_mail, settings))


def _reach_mail(settings: Settings) -> None:
    with contextlib.closing(open_transport(settings, settings.data_dir)) as transport:
        transport.connect()


def _log_in(settings: Settings, name: str) -> str:
    """What is to be known of a login that went well, in brackets; "" for nothing."""
    table = settings.spiders[name].login
    session = open_session(name, settings.spiders[name], settings)
    if not session.ensure_login() and table is not None and table.sends:
        return " (the session still holds; the password was not tried)"
    return "" if session.checkable else f" ({UNCHECKABLE})"


def _problem(attempt: Callable[[], object]) -> PipelineError | None:
    """What went wrong with it; None when nothing did."""
    try:
        attempt()
    except PipelineError as error:
        return error
    return None


def _try_proxies(settings: Settings) -> Iterator[tuple[str, PipelineError | None]]:
    """Each proxy of each spider, all of a pool, by asking for the spider's first start through it."""
    for name, spider in settings.spiders.items():
        if spider.proxy in (None, ENVIRONMENT) or not spider.start:
            continue
        try:
            urls = proxy_urls(spider.proxy, settings)
        except PipelineError as error:  # its password cannot be had
            yield f"proxies.{spider.proxy}", error
            continue
        for proxy in urls:
            yield (f"proxies.{spider.proxy} ({shown_proxy(proxy)}) for spiders.{name}",
                   _problem(partial(_try_proxy, settings, name, proxy)))


def _try_proxy(settings: Settings, name: str, proxy: str) -> None:
    spider = settings.spiders[name]
    open_session(name, spider, settings).try_proxy(proxy, spider.start[0].url)


# status


def ask_status(settings: Settings) -> dict[str, Any]:
    """The snapshot of a running service. Raises HeartbeatError."""
    client = client_for(settings)
    answer = client.ask("status")
    try:
        found = json.loads(answer)
    except ValueError as error:
        raise HeartbeatError("what answers there is no heartbeat of this program", where=str(client),
                             fix="check [heartbeat] in settings.toml") from error
    if not isinstance(found, dict):
        raise HeartbeatError("what answers there is no heartbeat of this program", where=str(client),
                             fix="check [heartbeat] in settings.toml; is the token readable?")
    return found


_COLOURS = {"ok": "green", "degraded": "yellow", "failing": "red"}


def status_table(found: dict[str, Any]) -> None:
    """Print a snapshot for people."""
    console = Console()
    colour = _COLOURS.get(found["health"], "red")
    console.print(f"[{colour}]{found['health']}[/]  version {found['version']}, since {_short(found['started_at'])}",
                  highlight=False)
    for reason in found["reasons"]:
        console.print(f"  {reason}", markup=False, highlight=False)
    table = Table(box=None, pad_edge=False)
    for name in ("spider", "health", "last success", "next", "last run"):
        table.add_column(name)
    for name, spider in found["spiders"].items():
        last = spider["last_run"]
        figures = last["progress"] if last else {}
        table.add_row(name, f"[{_COLOURS.get(spider['health'], 'red')}]{spider['health']}[/]",
                      _short(spider["last_success"]) or "never", _short(spider["next_due"]) or "by hand",
                      f"{last['outcome'] or 'running'}: {figures.get('pages', 0)} pages, "
                      f"{figures.get('items', 0)} items" if last else "")
    console.print(table, highlight=False)
    outbox, disk, size = found["outbox"], found["disk"], found.get("store", {}).get("size_bytes")
    console.print(f"runs now: {len(found['runs'])}   outbox: {outbox['waiting']} waiting, {outbox['parked']} parked   "
                  f"disk: {(disk['free_bytes'] or 0) / 1e9:.1f} GB free"
                  + (f"   database: {size_for_people(size)}" if size is not None else ""), highlight=False)


def _short(instant: str | None) -> str:
    return instant[:19].replace("T", " ") if instant else ""


# digests and mail


def send_digest(store: Store, settings: Settings, name: str, *, say: Callable[[str], None]) -> int:
    """Build a digest of what it has not told yet, and deliver it; the exit code."""
    runs.abandon_expired(store, now=utc_now())  # a killed process may hold a claim
    owner = f"{store.owner}:digest"
    claim = digests.claim(store, name, settings.digests[name].spiders, f"by hand {utc_now().isoformat()}",
                          owner=owner, now=utc_now())
    if claim is None:
        say(f"{name}: nothing to tell")
        return 0
    built = mail_digest.build(store, settings, claim, owner=owner, now=utc_now())
    if not built.message_ids:
        say(f"{name}: nothing new")
        return 0
    say(f"{name}: {built.subject}")
    if built.problem:
        say(f"it shows less than its settings ask for: {built.problem}")
    for key in built.html_keys:
        say(f"look at it: {store.files.path(key)}")
    return deliver_now(store, settings, say=say)


def deliver_now(store: Store, settings: Settings, *, say: Callable[[str], None]) -> int:
    """Deliver what is due; 0 when all of it was accepted, else 7 (mail)."""
    runs.abandon_expired(store, now=utc_now())  # a killed process may hold a message
    transport = open_transport(settings, settings.data_dir)
    try:
        policy = RetryPolicy(settings.mail.max_age, settings.mail.max_attempts, settings.mail.per_hour,
                             lambda now: not ClockTrust(store).doubt(now))
        attempts = deliver_due(store, transport, owner=f"{store.owner}:outbox", now=utc_now, policy=policy,
                               hooks=DeliveryHooks(on_attempt=lambda attempt: say(str(attempt))))
    finally:
        transport.close()
    return 0 if all(attempt.state is MessageState.SENT for attempt in attempts) else 7


def send_test(settings: Settings, address: str, *, dialogue: TextIO | None) -> str:
    """Send a test message; return what the transport says of it. Raises MailError."""
    result, receipt = test_message.send_test(settings, settings.data_dir, address, now=utc_now(), dialogue=dialogue)
    if not result.accepted:
        raise MailError(f"refused: {result.code} {result.text}", where=address, fix="check the address")
    return receipt


# items


def export(store: Store, spider: str, *, form: str, changes: bool, output: Path | None,
           key: str | None = None) -> None:
    """Write the items of a spider, or their changes, as JSON lines, CSV or XLSX. Raises UsageError."""
    if output is not None:
        _write_items(store, spider, form, output, changes=changes, key=key)
    elif not table_format(form).is_text:
        raise UsageError(f"{form} is not a text format", where="items", fix=f"name a file with --output FILE.{form}")
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "items")
            _write_items(store, spider, form, path, changes=changes, key=key)
            with path.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)


def _write_items(store: Store, spider: str, form: str, path: Path, *, changes: bool, key: str | None) -> None:
    names = stored_items.field_names(store, spider)
    if changes:
        table_format(form).write(path, Columns(names, frozenset()), stored_items.changes(store, spider, key=key))
    elif form == "jsonl":
        with path.open("w", encoding="utf-8") as file:
            for item in stored_items.present(store, spider, key=key):
                file.write(json.dumps(item.data, ensure_ascii=False) + "\n")
    else:
        priced = frozenset(name for item in stored_items.present(store, spider, key=key)
                           for name, value in item.data.items() if is_price(value))
        rows: Any = stored_items.present(store, spider, key=key)
        table_format(form).write(path, _ItemColumns(names, frozenset(), priced), rows)


class _ItemColumns(Columns):
    """The table of items: their key and fields, with none of what a change has."""

    def head(self) -> list[str]:
        return ["key", *(column for name in self.fields for column in self._of_field(name))]

    def row(self, change: Any) -> Iterator[Any]:
        yield change.key
        yield from (cell for name in self.fields for cell in self._cells(name, change.data.get(name)))
