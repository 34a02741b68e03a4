"""Tests that a mail in another language has no English sentence.

A digest with everything it can show, and an alert of each kind.
"""

from __future__ import annotations

import email
import re
from datetime import timedelta
from email.policy import default

import pytest
from sqlalchemy import insert

from pipeline.mail.alerts import check
from pipeline.model import LoginCookie, MessageState, Outcome, Reject
from pipeline.store.database.schema import mendings
from pipeline.store.mail import outbox as stored
from pipeline.store.mail.alerts import AlertCondition, AlertKind
from tests.mail.conftest import NOW, built, text_of

ITEMS = {str(number): {"标题": f"书 {number}", "url": f"https://books.test/{number}", "价格": f"¥{number}.00"} for number in range(1, 71)}
NAMES = r"`[^`]*`|https?://\S+|\S+@\S+|[\w.-]+/[\w./-]+|\b(?:Excel|CSV|PDF|Cookie|Ops|books|news|login|sid|robots\.txt|Europe|HTTP|Text|UTF|price|div|pipeline)\b"
"""What is the same in every language: commands, URLs, addresses, paths, names of spiders, fields and formats."""
ENGLISH = re.compile(r"[A-Za-z]{2,}[ ,]+[A-Za-z]{2,}")
GERMAN_STEMS = re.compile(r"\b(?:the|were|is|of|and|with|runs?|failed|items?|pages?|since|last|never|site|which|has|have)\b", re.IGNORECASE)
REPORT = {"diff": "--- settings.toml\n+++ settings.toml\n-each = \"li\"\n+each = \"div\"", "before": [{"title": "书"}], "after": [{"title": "书"}],
          "changes": {"items": {"fields": {}}}, "notes": ["no rule was found for price: its known values were not found on the pages"],
          "agreement_line": "title 3 of 3 known values agree on 1 page", "not_applied": "known values agree on 1 page only, and 3 are needed"}


def sentences_in_english(text: str, language: str) -> list[str]:
    text = re.sub(r"^  \| .*$", "", text, flags=re.MULTILINE)  # the log
    text = re.sub(NAMES, "", text)
    return (ENGLISH if language == "zh" else GERMAN_STEMS).findall(text)


@pytest.mark.parametrize("language", ["zh", "de"])
def test_a_digest_with_everything_has_no_english_sentence(store, site, settings_from, language: str) -> None:
    settings = settings_from(digest=f'language = "{language}"\nattach = ["xlsx", "downloads", "csv"]\nattach_limit = "100kB"\n', spiders=("books", "news"))
    site.run(dict(list(ITEMS.items())[:40]), files=[("a.pdf", b"%PDF" * 90_000, "application/pdf"), ("b.exe", b"MZ", "application/x-msdownload")])
    site.run({key: {**item, "价格": "¥9"} for key, item in list(ITEMS.items())[20:]}, rejects=[
        Reject("price: 'n/a' is not a number; title: the field is required, but was not found", {"标题": "无价"}, "99")])
    site.run(None, outcome=Outcome.FAILED, error="http://books.test/: the server did not respond in time (through the proxy http://p.test:8080); "
             "check the URL and the network", error_kind="FetchError")
    site.run({"1": {"标题": "新闻"}}, spider="news")
    site.run({}, spider="news", doubt="`items.each` matched nothing on 3 pages; 2 pages refused: 403 from news.test")
    digest = built(store, settings)
    for message_id in digest.message_ids:
        mail = email.message_from_bytes(store.files.path(stored.get(store, message_id)[0].file_key).read_bytes(), policy=default)
        told = f"{mail['Subject']}\n{text_of(mail)}"
        assert sentences_in_english(told, language) == [], told


@pytest.mark.parametrize("language", ["zh", "de"])
def test_alerts_of_every_kind_have_no_english_sentence(store, site, settings_from, language: str) -> None:
    settings = settings_from(digest=f'[alerts]\nto = ["ops@example.com"]\nlanguage = "{language}"\nafter = 1\n', spiders=("books", "news", "login"))
    site.run({"1": {"标题": "书"}})
    suspect = site.run({}, doubt="no item has the field '价格', although all 12 items of the previous pass had this field")
    with store.write() as connection:
        connection.execute(insert(mendings).values(spider="books", pass_id=suspect.pass_id, run_id=suspect.id, created_at=NOW, state="proposed", report=REPORT))
    site.run(None, spider="news", outcome=Outcome.TIMED_OUT, error="the run did not finish within time_limit = 60 s", error_kind="SpiderError")
    cookie = LoginCookie("sid", "books.test", NOW - timedelta(days=9), False, NOW + timedelta(days=1))
    late = [AlertCondition("news", AlertKind.LATE, NOW - timedelta(hours=2)), AlertCondition("login", AlertKind.LOGIN, NOW, cookie=cookie),
            AlertCondition("books", AlertKind.NODE, NOW - timedelta(hours=1)),
            AlertCondition("daily", AlertKind.DIGEST, NOW, error="digest.html, line 3: the template cannot be rendered: …; correct the template, or remove the file")]
    assert check(store, settings, late=late, log_of=lambda run: store.files.path(f"{run}.log"), now=NOW) is not None
    site.run({"1": {"标题": "书"}}, spider="news")
    assert check(store, settings, late=late[1:2], log_of=lambda run: store.files.path(f"{run}.log"), now=NOW + timedelta(hours=3)) is not None
    for message in stored.list_messages(store, (MessageState.WAITING,)):
        mail = email.message_from_bytes(store.files.path(message.file_key).read_bytes(), policy=default)
        told = f"{mail['Subject']}\n{text_of(mail)}"
        assert sentences_in_english(told, language) == [], told
