"""Tests that a language model without a usable answer changes one line of a mail, no more."""

from __future__ import annotations

import time
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from pipeline.settings import load
from pipeline.store import open_store
from pipeline.store.mail import digests as stored
from tests.mail.conftest import NOW, Site, built, claimed, text_of
from tests.mail.summary.conftest import answer, lines_of, mails_of
from tests.servers.language_model import Answer
from tests.servers.ports import free_port

ITEMS = {str(n): {"title": f"Book {n}", "price": f"£{n}0.00", "url": f"https://books.example/{n}"} for n in range(1, 30)}
LATER = {number: item | {"price": "£7.00"} if int(number) % 3 else item for number, item in ITEMS.items() if int(number) < 27}


def mail_with(folder: Path, keys: str) -> EmailMessage:
    """The second mail of a digest in a store of its own, with these keys of the digest and further tables."""
    store = open_store(folder / "var")
    site = Site(store)
    tables = "".join(f'[spiders.{name}]\nstart = "http://site.test/"\n' for name in ("books", "films"))
    path = folder / "settings.toml"
    path.write_text(f'[mail]\nfrom = "p@example.com"\n{tables}[digests.morning]\nspiders = ["books", "films"]\nto = ["me@example.com"]\nattach = ["csv"]\n{keys}')
    site.run(ITEMS)
    site.run({"1": ITEMS["1"]}, spider="films")
    stored.close(store, claimed(store, load(path)).id, [], owner="me", now=NOW)
    site.run(LATER)
    site.run({"1": ITEMS["1"], "2": ITEMS["2"]}, spider="films")
    mail, = mails_of(store, built(store, load(path), slot="s2").message_ids)
    store.close()
    return mail


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> EmailMessage:
    """The mail without a language model."""
    return mail_with(tmp_path_factory.mktemp("plain"), "")


DOWN = "down"
FAILURES: dict[str, tuple[Any, str, str]] = {
    "the server is down": (DOWN, "", ""),
    "no JSON": ("The changes are very interesting.", "", "something else than was asked for"),
    "a stream that is cut": (Answer(answer({"The first change matters most.": [1]}), cut_after=20), "", ""),
    "a server that hangs": (Answer(answer({"The first change matters most.": [1]}), hang=20), 'timeout = "0.5s"', ""),
    "nothing": (answer({}), "", "no sentence of the language model names a change of this digest"),
    "sentences about unknown changes": (answer({"It is all over.": [0, -1, 999], "Really.": []}, [5, 4]), "", "no sentence of the language model names a change of this digest"),
    "no budget": (answer({"The first change matters most.": [1]}), "max_tokens_per_day = 100", ""),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_model_that_fails_changes_one_line_of_the_mail(kind, plain, model, tmp_path) -> None:
    model.says, keys, reason = FAILURES[kind]
    table = model.settings(keys)
    if model.says is DOWN:
        table = table.replace(model.url, f"http://127.0.0.1:{free_port()}/v1")
    begun = time.monotonic()
    mail = mail_with(tmp_path, f"summary = true\n{table}")
    assert time.monotonic() - begun < 10
    without = lines_of(plain)
    line, = (line for line in lines_of(mail) if line not in without)
    assert line.startswith("There is no summary of these changes: ")
    assert reason in line
    assert [each for each in lines_of(mail) if each != line] == without
    html, before = text_of(mail, "html").splitlines(), text_of(plain, "html").splitlines()
    added, = (each for each in html if each not in before)
    assert line.replace("'", "&#39;") in added
    assert [each for each in html if each != added] == before
    assert mail.items() == plain.items()
    assert [part.get_content() for part in mail.iter_attachments()] == [part.get_content() for part in plain.iter_attachments()]


def test_a_digest_without_summary_asks_no_model(plain, model, tmp_path) -> None:
    assert mail_with(tmp_path, model.settings()).as_bytes() == plain.as_bytes()
    assert not model.asked
