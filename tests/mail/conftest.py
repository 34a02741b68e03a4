"""Fixtures of the tests of mails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from pipeline.crawl.frontier.page_archive import PageArchive
from pipeline.mail.digests.build import BuiltDigest, build
from pipeline.model import DigestClaim, DraftMessage, Exchange, Item, Message, Outcome, Page, Progress, Reject, Run
from pipeline.settings import Settings, load
from pipeline.store import Store
from pipeline.store.crawl import commit
from pipeline.store.crawl.compare import Comparison
from pipeline.store.database.schema import download_files, downloads
from pipeline.store.mail import digests, outbox
from pipeline.store.runs.runs import Ending, claim_slot, end_run, start_run
from tests.empty_store import open_empty_store

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


@dataclass
class Clock:
    """A clock that stands still until it is told."""

    at: datetime = NOW

    def __call__(self) -> datetime:
        return self.at

    def forward(self, **span: float) -> None:
        self.at += timedelta(**span)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_empty_store(tmp_path / "var")
    yield opened
    opened.close()


@dataclass
class Site:
    """Runs of spiders as the crawl leaves them in the store, through the store's own code."""

    store: Store
    at: datetime = NOW - timedelta(hours=1)
    comparison: Comparison = Comparison()  # noqa: RUF009  it is frozen
    slots: int = field(default=0)

    def run(self, items: dict[str, dict[str, Any]] | None, *, spider: str = "books", outcome: Outcome = Outcome.SUCCEEDED,
            error: str = "", complete: bool = True, files: Sequence[tuple[str, bytes, str]] = (),
            rejects: Sequence[Reject] = (), pages: Mapping[str, bytes] | None = None, doubt: str = "",
            error_kind: str = "", failed_pages: int = 0, exchanges: Sequence[Exchange] = ()) -> Run:
        """One run that found these items by key (None: it found no page at all) and downloaded these files
        (name, content, type). pages: the bodies of those on which items were found, by the item's key."""
        self.slots += 1
        self.at += timedelta(minutes=1)
        claimed = claim_slot(self.store, spider, f"slot {self.slots}", due_at=self.at, reason="manual", now=self.at)
        assert claimed is not None
        run = start_run(self.store, claimed.id, owner="test", now=self.at, limit=99)
        assert run is not None
        progress = Progress(pages=0 if items is None else 1 + len(pages or {}), items=len(items or {}), rejected=len(rejects), pages_failed=failed_pages)
        if items is not None:
            first = Page(url="http://site.test/", status=200, fetched_at=self.at, rejects=tuple(rejects), exchanges=tuple(exchanges),
                         items=tuple(Item(key, data) for key, data in items.items() if key not in (pages or {})))
            kept = PageArchive(self.store.files, spider)
            own = [Page(url=f"http://site.test/{key}", status=200, fetched_at=self.at, body=body, items=(Item(key, items[key]),))
                   for key, body in (pages or {}).items()]
            kept.keep_only(commit.commit_pages(self.store, run, [first, *kept.save(own)], now=self.at, comparison=self.comparison).news)
        for number, (name, content, content_type) in enumerate(files):
            self._file(run, f"http://site.test/{self.slots}/{number}", name, content, content_type)
        return end_run(self.store, run, Ending(outcome, error=error, error_kind=error_kind, doubt=doubt, complete=complete and items is not None
                                               and outcome is Outcome.SUCCEEDED), progress, now=self.at)

    def _file(self, run: Run, url: str, name: str, content: bytes, content_type: str) -> None:
        key = f"downloads/{run.spider}/{run.id}-{name}"
        self.store.files.write(key, content)
        with self.store.write() as connection:
            download_id = connection.execute(downloads.insert().values(
                spider=run.spider, url=url, pass_id=run.pass_id, state="done", requested_at=self.at,
                file_key=key)).inserted_primary_key[0]
            connection.execute(download_files.insert().values(
                download_id=download_id, run_id=run.id, spider=run.spider, url=url, key=key, name=name,
                size_bytes=len(content), sha256="0" * 64, content_type=content_type, fetched_at=self.at))


@pytest.fixture
def site(store: Store) -> Site:
    return Site(store)


SettingsFrom = Callable[..., Settings]


@pytest.fixture
def settings_from(tmp_path: Path) -> SettingsFrom:
    """Settings with a spider or more, one digest and a [mail] table as a user would write them."""

    def made(*, mail: str = "", digest: str = "", to: str = '["me@example.com"]',
             spiders: Sequence[str] = ("books",)) -> Settings:
        tables = "".join(f'[spiders.{name}]\nstart = "http://site.test/"\n' for name in spiders)
        wanted = ", ".join(f'"{name}"' for name in spiders)
        sender = "" if "from =" in mail else 'from = "Pipeline <pipeline@example.com>"\n'
        path = tmp_path / "settings.toml"
        path.write_text(f"[mail]\n{sender}{mail}\n{tables}\n[digests.morning]\nspiders = [{wanted}]\nto = {to}\n{digest}\n",
                        "utf-8")
        return load(path)

    return made


Enqueue = Callable[..., int]

PLAIN = b"Date: Sun, 22 Nov 2026 08:00:00 +0000\r\nFrom: a@example.com\r\nSubject: hello\r\n\r\n.one\r\n..two\r\n.\r\nend\r\n"


@pytest.fixture
def enqueue(store: Store) -> Enqueue:
    """Puts a message into the outbox; its row's id."""

    def put(*, to: Sequence[str] = ("me@example.com",), content: bytes = PLAIN, name: str = "1",
            at: datetime = NOW) -> int:
        key = f"messages/{name}.eml"
        store.files.write(key, content)
        return outbox.enqueue(store, DraftMessage(f"<{name}@example.com>", f"message {name}", "pipeline@example.com",
                                                  tuple(to), key, len(content)), now=at)

    return put


@pytest.fixture
def message_to() -> Callable[..., Message]:
    def made(*recipients: str, sender: str = "pipeline@example.com", message_id: str = "<1@example.com>") -> Message:
        from pipeline.model import MessageState

        return Message(1, None, message_id, "hello", sender, recipients, "messages/1.eml", 0, MessageState.WAITING, 1,
                       NOW, NOW, None, "")

    return made


def claimed(store: Store, settings: Settings, *, slot: str = "s1", now: datetime = NOW) -> DigestClaim:
    """A claim of the digest `morning` on what it has not told yet."""
    claim = digests.claim(store, "morning", settings.digests["morning"].spiders, slot, owner="me", now=now)
    assert claim is not None
    return claim


def built(store: Store, settings: Settings, **options: Any) -> BuiltDigest:
    return build(store, settings, claimed(store, settings, **options), owner="me", now=NOW)


def text_of(mail: EmailMessage, kind: str = "plain") -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return part.get_content()
