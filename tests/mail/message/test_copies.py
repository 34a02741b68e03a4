"""Copies of a message for several recipients are what composing each message apart would give."""

from __future__ import annotations

import email
import io
from email.policy import default
from pathlib import Path

import pytest

from pipeline.mail.message import compose
from pipeline.mail.message.attachments import Attachment
from pipeline.mail.message.copies import Copies
from tests.mail.conftest import NOW

MARK = "recipient-0123456789abcdef0123456789abcdef"
ADDRESSES = ("Doe, Jane <jane+news@example.com>", "Ünal <u@bücher.example>", "jürgen@example.com", f"{'long' * 12}@{'sub.' * 10}example.com", "a@b.example")
TEXTS = {
    "ASCII": ("Unsubscribe: https://x.test/MARK\n", "<p>Hello</p><a href='https://x.test/MARK'>x</a>"),
    "quoted-printable": ("".join(f"{'é' * n} https://x.test/u?a=MARK {'x' * n}\n" for n in range(1, 40)),
                         "".join(f"<p>{'ü' * n}{'z' * n} <a href='MARK'>é</a></p>" for n in range(40))),
    "Base64": ("中文" * 200 + " https://x.test/MARK", "<p>" + "中文" * 300 + "</p><a href='MARK'>退订</a>"),
    "without the mark": ("Hello\n", "<p>Hello</p>"),
    "only text": ("MARK\n", ""),
}


def envelope(address: str, number: int) -> compose.Envelope:
    return compose.Envelope("Pipeline <p@example.com>", (address,), None, "Subject ü", f"<{number}@example.com>", NOW, list_name="news",
                            unsubscribe=f"https://x.test/{number}", references="<news.thread@example.com>")


@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize("name", TEXTS)
def test_a_copy_equals_a_message_that_is_composed_apart(name, attached, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\0recipient\n" * 5000)
    files = [Attachment(tmp_path / "a.bin", "a.bin", "application/x-a", 55_000)] if attached else []
    text, html = (each.replace("MARK", MARK) for each in TEXTS[name])
    copies = Copies(compose.Content(text, html, (), files), MARK, None)
    for number, address in enumerate((*ADDRESSES, ADDRESSES[0])):
        own = f"reader{number}%40example.com"
        copy, apart = io.BytesIO(), io.BytesIO()
        copies.write(copy, envelope(address, number), own)
        compose.write(apart, envelope(address, number), text=text.replace(MARK, own), html=html.replace(MARK, own), attachments=files)
        found, wanted = (email.message_from_bytes(each.getvalue(), policy=default) for each in (copy, apart))
        assert [(key, value) for key, value in found.items() if key != "Content-Type"] == [(key, value) for key, value in wanted.items() if key != "Content-Type"]
        for one, other in zip(found.walk(), wanted.walk(), strict=True):
            assert one.get_content_type() == other.get_content_type()
            if not one.is_multipart():
                assert one.get_content() == other.get_content()
            if one.get("Content-Transfer-Encoding") == "quoted-printable":
                assert max(map(len, one.get_payload().splitlines())) <= 76
        assert MARK.encode() not in copy.getvalue()
