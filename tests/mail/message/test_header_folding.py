"""Tests that folded headers are read back as intended, however long their addresses and names are.

The readers are independent parsers of RFC 5322, 2047 and 2231, and both parsers of the standard library.
"""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from email.policy import default
from email.utils import getaddresses
from pathlib import Path
from urllib.parse import unquote

import pytest

from pipeline.mail.message import compose
from pipeline.mail.message.attachments import Attachment
from pipeline.settings.fields.addresses import bare_address

AT = datetime(2026, 11, 29, tzinfo=UTC)
_WORD = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|<([^<>]*)>|(,)|([^\s",<>]+))')
PEOPLE = [
    ("Public Relations, Communications and Events Department, Example Corporation Europe", "pr@example.com"),
    ("", "01234567890123456789012345678901234567890123456789012345678901@example.org"), ("ä", "foo@example.org"),
    ("Müller, Jörg – Einkauf und Logistik, Abteilung Süd, Standort Köln-Ehrenfeld", "j@example.com"), ("Doe, Jane", "jane@example.com"),
    ("A véry long name with non-ASCII char and, comma; and more (of it) than fits a line", "to@example.com"),
    ('Bob "the \\ builder" <b@evil.example>, x@evil.example; and a long rest of a line that does not fit', "bob@example.com"),
    ("=?utf-8?q?not_a_word?=", "word@example.com"), ("J. R. Doe", "jr@example.com"), ("日本語の名前、とても長い" * 8, "jp@example.com"),
    ("a plain name of many words that is longer than one line of a header may be, at least without a fold", "plain@example.com"),
    ("x" * 200, "x@example.com"), ("", "y@example.com")]


def written(address: tuple[str, str]) -> str:
    name, place = address
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{place}>' if name else place


def header(raw: bytes, name: str) -> str:
    """Unfolded (RFC 5322, 2.2.3)."""
    head = raw.partition(b"\r\n\r\n")[0].decode("ascii")
    assert all(len(line) <= 998 for line in head.split("\r\n"))
    found = re.search(rf"(?:^|\r\n){name}: ([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)", head)
    assert found, head
    return found[1].replace("\r\n", "")


def mailboxes(text: str) -> list[tuple[str, str]]:
    """Names and addresses (RFC 5322, 3.4); encoded words are decoded (RFC 2047, 6.2)."""
    found: list[tuple[str, str]] = []
    words: list[str] = []
    place = ""
    for quoted, angled, comma, atom in [*_WORD.findall(text), ("", "", ",", "")]:
        if comma:
            found.append((decoded(words), place) if place else ("", "".join(words)))
            words, place = [], ""
        elif angled:
            place = angled
        else:
            words.append(atom or re.sub(r"\\(.)", r"\1", quoted))
    return found


def decoded(words: list[str]) -> str:
    if all(re.fullmatch(r"=\?utf-8\?[bq]\?[^?]*\?=", word) for word in words):
        assert all(len(word) <= 75 for word in words)
        return str(make_header(decode_header(" ".join(words))))
    return " ".join(words)


def envelope(people: list[tuple[str, str]], **more: object) -> compose.Envelope:
    options = {"sender": written(people[0]), "to": [*map(written, people)], "reply_to": written(people[-1]),
               "cc": [*map(written, reversed(people))], "subject": "s", "message_id": "<1@example.com>", "date": AT} | more
    return compose.Envelope(**options)  # type: ignore[arg-type]


def raw_of(people: list[tuple[str, str]]) -> bytes:
    file = io.BytesIO()
    compose.write(file, envelope(people), text="x")
    return file.getvalue()


@pytest.mark.parametrize("people", [*([person, ("", "b@example.com")] for person in PEOPLE), PEOPLE],
                         ids=lambda people: f"{people[0][0][:20]} of {len(people)}")
def test_readers_see_the_addresses_and_names_that_were_meant(people: list[tuple[str, str]]) -> None:
    raw = raw_of(people)
    meant = {"From": people[:1], "To": people, "Cc": people[::-1], "Reply-To": people[-1:]}
    compat, strict = message_from_bytes(raw), message_from_bytes(raw, policy=default)
    for name, expected in meant.items():
        assert mailboxes(header(raw, name)) == expected
        places = [place for _, place in expected]
        assert [place for _, place in getaddresses([str(compat[name])])] == places
        assert [address.addr_spec for address in strict[name].addresses] == places


def test_a_name_of_a_mail_with_international_addresses_keeps_its_quotes() -> None:
    people = [("Müller, Jörg, Abteilung für Einkauf, Logistik und alles, was sonst noch anfällt", "jörg@example.com"), ("", "b@example.com")]
    text = compose.headers(envelope(people)).as_bytes().decode()
    assert f'To: "{people[0][0]}"\r\n <jörg@example.com>, b@example.com\r\n' in text


NAMES = ["a.pdf", "Übersicht über alle Angebote des Monats November, zweite Fassung.xlsx", 'a "b"; c\\d.pdf', "x" * 150 + ".pdf",
         "日本語の名前" * 12 + ".docx", "50% off.txt", "a'b*c.txt"]
LONG_TYPE = "application/vnd.openxmlformats-officedocument.presentationml.presentation"


def parameters(text: str) -> dict[str, str]:
    """RFC 2045, 5.1, with the continuations and charsets of RFC 2231."""
    found = {key: re.sub(r"\\(.)", r"\1", quoted) if quoted else token
             for key, quoted, token in re.findall(r';\s*([^=;\s]+)=(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))', text)}
    joined: dict[str, str] = {}
    for key, value in found.items():  # in their order, as they were written
        joined[key.partition("*")[0]] = joined.get(key.partition("*")[0], "") + value
    return {key: unquote(value.removeprefix("utf-8''")) if f"{key}*" in found or f"{key}*0*" in found else value
            for key, value in joined.items()}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("content_type", [LONG_TYPE, "text/csv"])
def test_readers_see_the_name_and_the_type_of_an_attachment(tmp_path: Path, name: str, content_type: str) -> None:
    (tmp_path / "f").write_bytes(b"\x00data")
    file = io.BytesIO()
    compose.write(file, envelope(PEOPLE[:1]), text="x", attachments=[
        Attachment(tmp_path / "f", name, content_type, 5, ours=content_type == "text/csv")])
    part = file.getvalue().split(b"\r\n--=_mixed_")[2].partition(b"\r\n")[2]
    said = header(part, "Content-Type")
    assert said.split(";")[0] == content_type
    assert "=?" not in said
    assert parameters(said) == {"name": name} | ({"charset": "utf-8"} if content_type == "text/csv" else {})
    assert parameters(header(part, "Content-Disposition")) == {"filename": name}
    for policy in (default, None):
        whole = message_from_bytes(file.getvalue(), policy=policy) if policy else message_from_bytes(file.getvalue())
        attachment = whole.get_payload()[1]  # type: ignore[index]
        assert (attachment.get_content_type(), attachment.get_filename()) == (content_type, name)
        assert attachment.get_payload(decode=True) == b"\x00data"


@pytest.mark.parametrize(("text", "meant"), [
    ("Doe, Jane <jane@example.com>", ("Doe, Jane", "jane@example.com")), ('"Doe, Jane" <jane@example.com>', ("Doe, Jane", "jane@example.com")),
    ("Müller, Jörg; Einkauf (Süd) <j@example.com>", ("Müller, Jörg; Einkauf (Süd)", "j@example.com")), ("j@example.com", ("", "j@example.com")),
    ("<j@example.com>", ("", "j@example.com")), (" J <j@example.com> ", ("J", "j@example.com")), ('The "best" <b@example.com>', ('The "best"', "b@example.com")),
    (r'"a \"b\" \\ c" <b@example.com>', (r'a "b" \ c', "b@example.com")), ("a <b> c <b@example.com>", ("a <b> c", "b@example.com")),
    ("Jörg <jörg@münchen.example>", ("Jörg", "jörg@xn--mnchen-3ya.example"))])
def test_a_display_name_in_the_settings_needs_no_quotes(text: str, meant: tuple[str, str]) -> None:
    message = compose.headers(envelope([("", "a@example.com")], sender=text, to=[text, "a@example.com"]))
    assert [(one.display_name, one.addr_spec) for one in message["To"].addresses] == [meant, ("", "a@example.com")]
    assert bare_address(text) == meant[1]
