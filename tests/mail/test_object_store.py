"""Digests whose messages and attachments are in an object store, also while it is down."""

from __future__ import annotations

import email
import mailbox
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.cli.deliveries import deliver_now, send_digest
from pipeline.errors import StoreError
from pipeline.mail.digests.build import build
from pipeline.model import MessageState
from pipeline.store import Store
from pipeline.store.mail import digests
from pipeline.store.mail import outbox as stored
from pipeline.store.open import open_store
from tests.mail.conftest import SettingsFrom, Site
from tests.servers.s3 import S3Server
from tests.store.files.test_file_stores import object_storage

BOOKS = {"1": {"title": "Three-Body", "price": "£51.77"}}
FILES = [("small.pdf", b"%PDF" + b"s" * 20_000, "application/pdf"), ("large.pdf", b"%PDF" + b"l" * 700_000, "application/pdf")]


@pytest.fixture
def store(tmp_path: Path, s3: S3Server) -> Iterator[Store]:
    opened = open_store(tmp_path / "var", storage=object_storage(s3, ""))
    opened.files = opened.files.quick  # fails at once where a service would wait for a minute
    yield opened
    opened.close()


def test_a_digest_that_cannot_be_stored_is_built_again_and_sent_once(store: Store, site: Site, s3: S3Server, settings_from: SettingsFrom) -> None:
    site.run(BOOKS, files=FILES, pages={"1": b"<html>saved page</html>"})
    settings = settings_from(digest='attach = ["downloads", "pages", "csv"]\nattach_limit = "100kB"')
    with s3.failing("refuse"), pytest.raises(StoreError) as failure:
        send_digest(store, settings, "morning", say=lambda line: None)
    assert failure.value.retry
    assert stored.list_messages(store) == []

    assert send_digest(store, settings, "morning", say=lambda line: None) == 0
    (found,) = mailbox.Maildir(settings.data_dir / "mail")
    mail = email.message_from_bytes(found.as_bytes())
    names = {part.get_filename() for part in mail.walk() if part.get_filename()}
    assert {"small.pdf", "site.test_1.html"} <= names
    assert "large.pdf" not in names
    assert sorted(key.rpartition(".")[2] for key in s3.objects() if key.startswith("messages/")) == ["eml", "html"]


def test_a_message_whose_file_cannot_be_read_now_is_delivered_later(store: Store, site: Site, s3: S3Server, settings_from: SettingsFrom) -> None:
    site.run(BOOKS)
    settings = settings_from()
    said: list[str] = []
    now = datetime.now(UTC)
    claim = digests.claim(store, "morning", ["books"], "08:00", owner=store.owner, now=now)
    assert claim is not None
    build(store, settings, claim, owner=store.owner, now=now)
    with s3.failing("refuse"):
        assert deliver_now(store, settings, say=said.append) == 7
    (waiting,) = stored.list_messages(store)
    assert waiting.state is MessageState.WAITING
    assert "the object store cannot be used" in said[-1]
