"""Which columns of the database mask secrets, and that nothing gets around them.

Nothing that a site or a mail server says does.
"""

from __future__ import annotations

import socket
import sqlite3
import threading
from base64 import b64encode
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import JSON, LargeBinary, Text, insert, select, update

from pipeline.secret_forms import SecretForms
from pipeline.store import Store
from pipeline.store.database.bulk import Each, insert_rows
from pipeline.store.database.column_types import AnyText, MaskedJson, MaskedText
from pipeline.store.database.packed_json import PackedJson
from pipeline.store.database.schema import alerts, digests, metadata, model_summaries, paused
from tests.servers.program import Program
from tests.servers.raw import start_raw
from tests.servers.smtp import Fault, SmtpServer

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
AS_IT_IS = {  # see SECURITY.md
    "what identifies a page, an item, a file or a request, or is sent again": {
        "frontier.url", "frontier.request", "frontier.fingerprint", "pages.url", "rejects.key", "rejects.url", "items.key", "changes.key", "changes.page_key",
        "changes.page_url", "downloads.url", "downloads.url_sha1", "downloads.item_key", "downloads.name", "downloads.referer", "downloads.headers",
        "downloads.sha256_wanted", "downloads.part_key", "downloads.part_etag", "downloads.part_last_modified", "downloads.file_key", "downloads.etag",
        "downloads.last_modified", "downloads.file_sha256", "download_files.url", "download_files.key", "download_files.name", "download_files.content_type",
        "archive_files.key", "archive_files.index_key", "archive_files.timestamp_key", "messages.file_key"},
    "data that a later run is compared with": {"items.data", "items.reported", "changes.before", "changes.after", "rejects.data"},
    "rules that must work, and masked by their module otherwise": {"mendings.report"},
    "responses of the API, in which secrets are masked": {"api_requests.body"},
    "sessions": {"session_files.content", "login_cookies.name", "login_cookies.site"},
    "written by the program or taken from the settings": {
        "archive_files.node", "cursors.schedule", "passes.coverage", "runs.progress", "nodes.roles", "nodes.queues", "ai_requests.model", "messages.channel",
        "messages.subject", "messages.sender", "digests.rebuild", "digests.again", "api_requests.headers"}}


def test_each_column_for_text_masks_secrets_or_is_listed_with_a_reason() -> None:
    long = (AnyText, Text, JSON, PackedJson, LargeBinary)
    found = {f"{table.name}.{column.name}" for table in metadata.sorted_tables for column in table.columns if isinstance(column.type, long)}
    assert found == set().union(*AS_IT_IS.values())
    masked = [column for table in metadata.sorted_tables for column in table.columns if isinstance(column.type, (MaskedText, MaskedJson))]
    assert {column.name for column in masked} == {
        "error", "last_error", "answer", "reason", "timestamp_error", "target", "outcome", "report", "content", "transfers"}


def test_texts_are_masked_before_they_are_cut_and_in_bulk(store: Store) -> None:
    store.mask.add("hunter2hunter2")
    store.mask.add("items")
    long = "x" * 990 + " hunter2hunter2\0"
    with store.write() as connection:
        connection.execute(insert(alerts).values(spider="s", kind="failing", since=NOW, told_at=NOW, error=f"{'x' * 1000}{long}"))
        insert_rows(connection, alerts, 2, spider=Each(["t", "u"]), kind="failing", since=NOW, told_at=NOW, error=Each(["", long]))
        connection.execute(insert(paused).values(spider="s", since=NOW, reason="aHVudGVyMmh1bnRlcjI="))
        connection.execute(update(paused).values(reason=paused.c.reason.concat(" and hunter2hunter2")))
        digest = connection.execute(insert(digests).values(name="d", slot_key="k", created_at=NOW).returning(digests.c.id)).scalar_one()
        connection.execute(insert(model_summaries).values(digest_id=digest, recipients_of=0, created_at=NOW, content={"items": ["a hunter2hunter2", "items", 1]}))
        assert connection.execute(select(alerts.c.error).order_by(alerts.c.spider)).scalars().all() == [f"{'x' * 1990} ****\ufffd", "", f"{'x' * 990} ****\ufffd"]
        assert connection.execute(select(paused.c.reason)).scalar_one() == "****= and ****"
        assert connection.execute(select(model_summaries.c.content)).scalar_one() == {"items": ["a ****", "****", 1]}


def cells(database: Path) -> dict[str, list[str]]:
    """All values of all tables but numbers, by table and column."""
    found: dict[str, list[str]] = {}
    with closing(sqlite3.connect(database)) as connection:
        for table, in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            rows = connection.execute(f"SELECT * FROM {table}")
            for row in rows:
                for (column, *_), value in zip(rows.description, row, strict=True):
                    if isinstance(value, (str, bytes)):
                        found.setdefault(f"{table}.{column}", []).append(value if isinstance(value, str) else value.decode("latin-1"))
    return found


SPIDER = """
import os

import scrapy
from scrapy.exceptions import DropItem

SECRET = os.environ["SITE_SECRET"]

class Refusing:
    def process_item(self, item):
        if item["n"] == 2:
            raise DropItem(f"refused for {SECRET}")
        return item

class Loud(scrapy.Spider):
    custom_settings = {"ITEM_PIPELINES": {Refusing: 1}}

    def parse(self, response):
        for n in (1, 2):
            yield {"n": n, "url": response.url, "said": SECRET if n == 2 else ""}
        yield scrapy.Request(response.urljoin(f"/page?key={SECRET}"), self.parse_page)

    def parse_page(self, response):
        raise ValueError("x" * 990 + f" the key is {SECRET}")
"""


def test_errors_that_repeat_a_secret_are_stored_masked_and_what_identifies_something_is_stored_as_it_is(program: Program) -> None:
    secret = "hunter2/hunter2"
    (program.folder / "spiders").mkdir()
    (program.folder / "spiders" / "loud.py").write_text(SPIDER)
    program.environment |= {"SITE_SECRET": secret}

    def answer(connection: socket.socket, stopping: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    refusal = f"550 5.1.1 unknown, and the key is {b64encode(secret.encode()).decode()}"
    with start_raw(answer) as site, SmtpServer(faults=[Fault("RCPT", refusal)]) as server:
        program.write(f"""
            [mail]
            host = "127.0.0.1"
            port = {server.port}
            security = "none"
            [digests.d]
            to = ["you@example.com"]
            spiders = ["s"]
            [spiders.s]
            spider = "spiders.loud:Loud"
            start = "{site}/"
            robots = false
            retries = 0
            headers = {{ X-Key = {{ env = "SITE_SECRET" }} }}
            """)
        assert program.run("run", "s").returncode == 0
        program.run("digest", "deliver", "d", "--send")
    found = cells(program.data / "pipeline.sqlite3")
    forms = SecretForms([secret], shortest=4)
    assert {column for column, values in found.items() if any(forms.are_in(value.encode()) for value in values)} == {"frontier.url", "pages.url", "rejects.data"}
    assert {column for column, values in found.items() if any("****" in value for value in values)} == {
        "runs.error", "frontier.error", "rejects.reason", "messages.last_error", "recipients.answer", "deliveries.error"}
    assert any("x" * 900 in error for error in found["pages.error"])
    assert not any("hunter2" in error for error in found["pages.error"]), "a secret is not cut before it is masked"
