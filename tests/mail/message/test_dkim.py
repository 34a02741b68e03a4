"""Tests of DKIM, Sender, envelope sender, one-click unsubscription and conversations."""

from __future__ import annotations

import email
import io
import tracemalloc
from email.policy import default
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from pipeline.errors import MailError
from pipeline.mail import test_message
from pipeline.mail.digests.build import build
from pipeline.mail.message.dkim import Signer
from pipeline.store.mail import digests
from pipeline.store.mail import outbox as stored
from tests.mail.conftest import NOW

dkim = pytest.importorskip("dkim", reason="dkimpy verifies what is signed here")
RSA = rsa.generate_private_key(public_exponent=65537, key_size=1024)


def pem(key) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def record(key) -> bytes:
    """The TXT record of a public key (RFC 6376, 3.6.1)."""
    from base64 import b64encode

    if isinstance(key, ed25519.Ed25519PrivateKey):
        return b"v=DKIM1; k=ed25519; p=" + b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
    return b"v=DKIM1; k=rsa; p=" + b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def verified(content: bytes, key=RSA) -> bool:
    def txt(name: bytes, timeout: int = 5) -> bytes | None:
        return record(key) if name == b"mail._domainkey.example.com." else None

    return bool(dkim.verify(content, dnsfunc=txt))


@pytest.fixture
def signed(settings_from, tmp_path):
    def made(key=RSA, **options):
        (tmp_path / "dkim.pem").write_text(pem(key))
        table = options.pop("mail", "") + ('\n[mail.dkim]\ndomain = "example.com"\nselector = "mail"\n'
                                           'key = { file = "dkim.pem" }')
        return settings_from(mail=table, **options)

    return made


def digest_of(store, settings) -> bytes:
    claim = digests.claim(store, "morning", ["books"], "s1", owner="me", now=NOW)
    assert claim is not None
    message_id, = build(store, settings, claim, owner="me", now=NOW).message_ids
    return store.files.path(stored.get(store, message_id)[0].file_key).read_bytes()


def test_a_digest_with_attachments_carries_a_signature_that_others_verify(store, site, signed) -> None:
    site.run({"1": {"title": "三体 ünï", "price": "£1"}}, files=[("a.bin", bytes(range(256)) * 3000, "application/x-a")])
    content = digest_of(store, signed(digest='attach = ["xlsx", "downloads"]\nunsubscribe = "https://example.com/u?x=1"\n'
                                             'cc = ["c@example.com"]\nthread = true'))
    assert content.startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d=example.com; s=mail;")
    assert all(len(line) < 80 for line in content.partition(b"Date: ")[0].split(b"\r\n"))
    assert verified(content)
    assert not verified(content.replace(b"Subject: ", b"Subject: not ", 1))
    assert not verified(content + b"more\r\n")
    assert not verified(content.replace(b"From: ", b"From: evil@example.com\r\nFrom: ", 1))
    assert b"list-unsubscribe-post" in content.partition(b"bh=")[0]


@pytest.mark.parametrize("body", [b"", b"\r\n\r\n", b"a\r\n\r\n\r\n", b"a", b"a\r\n\r\nb \r\n", b"x" * 70_000 + b"\r\n" * 40_000 + b"y\r\n\r\n"])
def test_every_kind_of_body_end_is_hashed_as_rfc_6376_says(body) -> None:
    content = b"From: a@example.com\r\nSubject:  two\r\n  lines\t x \r\n\r\n" + body
    assert verified(Signer("example.com", "mail", pem(RSA)).header(io.BytesIO(content), at=NOW) + content)


def test_a_test_message_and_a_short_key_of_the_new_kind_are_signed(signed) -> None:
    pytest.importorskip("nacl", reason="dkimpy needs it for Ed25519")
    key = ed25519.Ed25519PrivateKey.generate()
    settings = signed(key)
    content = test_message.compose_test(settings, "me@example.com", NOW).as_bytes()
    assert verified(Signer("example.com", "mail", pem(key)).header(io.BytesIO(content), at=NOW) + content, key)


def test_a_large_message_is_signed_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "m.eml"
    path.write_bytes(b"From: a@example.com\r\n\r\n" + (b"x" * 76 + b"\r\n") * 200_000)
    signer = Signer("example.com", "mail", pem(RSA))
    tracemalloc.start()
    with path.open("rb") as file:
        header = signer.header(file, at=NOW)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000
    assert verified(header + path.read_bytes())


@pytest.mark.parametrize("key", ["", "no key", pem(rsa.generate_private_key(public_exponent=65537, key_size=1024))[:300]])
def test_a_key_that_cannot_sign_is_reported(key) -> None:
    with pytest.raises(MailError, match=r"mail.dkim.key: the secret is not a private key"):
        Signer("example.com", "mail", key)


def test_a_missing_key_is_reported_when_a_digest_is_built(store, site, signed, tmp_path) -> None:
    site.run({"1": {"title": "x"}})
    settings = signed()
    (tmp_path / "dkim.pem").unlink()
    with pytest.raises(MailError, match=r"mail.dkim.key: the secret cannot be read from the file"):
        digest_of(store, settings)


def test_sender_envelope_and_unsubscribing_are_as_configured(store, site, settings_from) -> None:
    settings = settings_from(mail='sender = "Robot <robot@example.com>"\nenvelope_from = "bounces@example.com"\n'
                             'reply_to = "people@example.com"', digest='unsubscribe = "https://example.com/u?d=morning"')
    site.run({"1": {"title": "x"}})
    mail = email.message_from_bytes(digest_of(store, settings), policy=default)
    assert (mail["Sender"], mail["Reply-To"]) == ("Robot <robot@example.com>", "people@example.com")
    assert mail["List-Unsubscribe"] == ("<https://example.com/u?d=morning>, "
                                        "<mailto:people@example.com?subject=unsubscribe%20morning>")
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["References"] is None
    assert stored.list_messages(store)[0].sender == "bounces@example.com"
