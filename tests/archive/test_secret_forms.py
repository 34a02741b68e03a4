"""In which forms a secret is found in what is archived, and which it may not be confused with.

The secrets are those of the settings.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from html import escape
from urllib.parse import quote, quote_plus

import brotli
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.archive.format.redaction import Redaction
from pipeline.archive.format.wide_text import wide_text
from pipeline.content_coding import zstd
from pipeline.secret_forms import SecretForms
from tests.archive.exchanges import HTML, exchange

SECRET = "p@ss/wörd & <7>+key"
SECRETS = {"a token": "sk-AbC0123456789xyz", "punctuation": SECRET, "only punctuation": "!@#$%^&*()", "Chinese": "密码密码-12", "backslashes": r"C:\\secret\dir", "emoji": "clé-🔑-secret"}


def in_json(text: str) -> str:
    return json.dumps(text)[1:-1]


FORMS: dict[str, Callable[[str], str | bytes]] = {
    "as it is": str,
    "percent-encoded": lambda text: quote(text, safe=""),
    "percent-encoded in lower case": lambda text: "".join(f"%{byte:02x}" if byte > 127 or not chr(byte).isalnum() else chr(byte) for byte in text.encode()),
    "as JavaScript encodes it for URLs": lambda text: quote(text, safe="!'()*-._~"),
    "as a path": lambda text: quote(text, safe="/@:+$&,;="),
    "as in a form": quote_plus,
    "percent-encoded twice": lambda text: quote(quote(text, safe=""), safe=""),
    "percent-encoded in latin-1": lambda text: quote(text.encode("latin-1", "ignore"), safe="") if text.isascii() or "ö" in text else quote(text),
    "with names of characters": escape,
    "with decimal character references": lambda text: "".join(each if each.isalnum() and each.isascii() else f"&#{ord(each)};" for each in text),
    "with hexadecimal character references": lambda text: "".join(each if each.isalnum() and each.isascii() else f"&#X{ord(each):04X};" for each in text),
    "with names, escaped twice": lambda text: escape(escape(text)),
    "in JSON": in_json,
    "in JSON as UTF-8": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "in JSON of PHP": lambda text: in_json(text).replace("/", r"\/").replace("&", r"\u0026").replace("<", r"\u003C"),
    "in JSON in JSON": lambda text: in_json(in_json(text)),
    "in JavaScript": lambda text: in_json(text).replace("&", r"\x26").replace("<", r"\x3c").replace("ö", r"\xf6"),
    "in JSON in an attribute": lambda text: escape(json.dumps(text)[1:-1]),
    "in a URL in an attribute": lambda text: escape(f"/?a=1&b={quote(text)}"),
    "in the middle of base64": lambda text: b64encode(f"user:{text}!".encode()),
    "in base64 at its beginning": lambda text: b64encode(f"{text}?>?>".encode()),
    "in base64 for URLs": lambda text: urlsafe_b64encode(f"{{}}{text}~~~~".encode()),
    "in base64 in JSON": lambda text: b64encode(f"a{text}".encode()).replace(b"/", rb"\/"),
    "in base64 in a URL": lambda text: quote(b64encode(text.encode()), safe=""),
    "in latin-1": lambda text: text.encode("latin-1", "ignore") if "ö" in text else text,
    "in GB 18030": lambda text: text.encode("gb18030") if "密" in text else text,
    **{f"in {name}": lambda text, name=name: f"<p>{escape(text)}</p>".encode(name) for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_found_in_each_form(form: str) -> None:
    for kind, secret in SECRETS.items():
        written = FORMS[form](secret)
        body = written if isinstance(written, bytes) else written.encode()
        stored = Redaction(secrets=[secret]).apply(exchange(body=body, response_headers=())).exchange.body
        utf8 = wide_text(stored).utf8
        assert b"****" in utf8, (kind, body)
        # Nothing of the secret remains but, in base64, bits that it shares with what surrounds it.
        assert len(utf8.replace(b"****", b"")) <= len(wide_text(body).utf8) - len(secret), (kind, stored)
        assert "secret" not in utf8.decode("latin-1"), kind


KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n+7VJTUt9Us8cKjMzEfYyjiWA4R4/M2bS\n-----END PRIVATE KEY-----\n"
WHITE: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "with CR LF": lambda text: text.replace("\n", "\r\n"),
    "on one line": lambda text: " ".join(text.split()),
    "indented": lambda text: text.replace("\n", "\n    "),
    "wrapped": lambda text: text.replace(" ", "\n"),
    "without its last line end": str.strip,
    "in JSON": in_json,
    "in JSON in JSON with CR LF": lambda text: in_json(in_json(text.replace("\n", "\r\n"))),
    "in a URL": lambda text: quote(text, safe=""),
    "in a form": quote_plus,
    "in an attribute": lambda text: escape(text).replace("\n", "&#10;"),
    "in repr": repr}


@pytest.mark.parametrize("form", WHITE)
def test_a_key_of_several_lines_and_a_secret_with_white_space_are_found_with_other_white_space(form: str) -> None:
    for secret in (KEY, KEY.replace("\n", r"\n"), "my  secret +\tkey"):
        text = WHITE[form](secret if r"\n" not in secret else KEY)
        left = SecretForms([secret], shortest=8).removed(b"<" + text.encode() + b">", b"****").decode()
        assert left.startswith(("<****", "<'****")), (secret, left)
        assert len(left) < 20, left


def test_more_white_space_than_a_secret_has_on_a_line_is_another_text() -> None:
    assert not SecretForms(["a  secret key"], shortest=8).are_in(b"a   secret key, a  secret  key, asecret key")


PACKED: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": gzip.compress, b"x-gzip": gzip.compress, b"deflate": zlib.compress, b"br": brotli.compress, b"zstd": zstd.compress,
    b"gzip, br": lambda body: brotli.compress(gzip.compress(body))}


@pytest.mark.parametrize("coding", PACKED)
def test_a_secret_is_found_in_compressed_bodies_of_both_sides(coding: bytes) -> None:
    headers = ((b"Content-Encoding", coding), (b"Content-Length", b"7"), (b"Content-Type", b"application/x-ndjson"))
    body = b'{"a": 1}\n{"password": "x1"}\n{"b": "' + in_json(SECRET).encode() + b'"}\n'
    stored = Redaction(secrets=[SECRET]).apply(exchange(
        method="POST", request_headers=headers, request_body=PACKED[coding](body), response_headers=headers, body=PACKED[coding](body))).exchange
    assert stored.request_body == b'{"a": 1}\n{"password": "****"}\n{"b": "****"}\n'
    assert stored.body == b'{"a": 1}\n{"password": "x1"}\n{"b": "****"}\n', "a site may answer with a field of this name"
    for lines, length in ((stored.request_headers, len(stored.request_body)), (stored.response_headers, len(stored.body))):
        assert lines == ((b"X-Orig-Content-Encoding", coding), (b"Content-Length", str(length).encode()), (b"X-Orig-Content-Length", b"7"),
                         (b"Content-Type", b"application/x-ndjson"))


@pytest.mark.parametrize("body", [
    HTML, b"SK-ABC0123456789XYZ", b"sk-AbC0123456789xy", b"sk AbC0123456789xyz", b"c2stQWJDMDEyMzQ1Njc4OXh5", b"\xff\xfe", b"\0" * 99, b"\xff\xfe\0\xd8x", b"\0a\0b\0c\0"])
def test_what_is_not_the_secret_stays_byte_for_byte(body: bytes) -> None:
    assert Redaction(secrets=["sk-AbC0123456789xyz"], params=["session"]).apply(exchange(body=body, response_headers=(), request_headers=())).notes == ()


@pytest.mark.parametrize("form", [
    lambda text: text.upper(), lambda text: text.encode().hex(), lambda text: "".join(f"%{byte:02x}" for byte in text.encode()), lambda text: f"{text[:9]}\n{text[9:]}",
    lambda text: f"{text[:9]}<b>{text[9:]}</b>", lambda text: "".join(f"&#{ord(each)};" for each in text), lambda text: b64encode(b64encode(text.encode())).decode(),
    lambda text: "\r\n ".join(re.findall(".{8}", b64encode(text.encode()).decode()))])
def test_what_the_documentation_says_is_not_found(form: Callable[[str], str]) -> None:
    assert not SecretForms(["sk-AbC0123456789xyz"], shortest=8).are_in(form("sk-AbC0123456789xyz").encode())


@settings(max_examples=100)
@given(st.text("\\%&;a0+/ #ä密", min_size=8, max_size=14), st.data())
@example("\\" * 12, None)
def test_each_character_may_be_in_another_form(secret: str, data: st.DataObject | None) -> None:
    names = ("as it is", "percent-encoded", "with names of characters", "with decimal character references", "in JSON", "in JSON in JSON")
    form = {each: data.draw(st.sampled_from(names)) if data else "in JSON" for each in sorted(set(secret))}
    mixed = "".join(str(FORMS[form[each]](each)) for each in secret)
    found = SecretForms([secret], shortest=8)
    assert found.are_in(mixed.encode())
    assert found.removed(b"<" + mixed.encode() + b">", b"****").startswith(b"<****"), mixed


@settings(max_examples=50)
@given(st.binary(max_size=40), st.sampled_from([b"", b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\0\0", b"\0\0\xfe\xff"]), st.sampled_from([b"", b"text/html; charset=utf-16"]))
def test_a_body_is_the_same_after_it_was_read_as_wide_text(body: bytes, mark: bytes, content_type: bytes) -> None:
    assert wide_text(mark + body, content_type).changed(lambda text: text) == mark + body
