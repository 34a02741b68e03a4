"""Timestamps (RFC 3161): what openssl's own server answers, and every answer that proves nothing."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from pipeline.archive.timestamps import server as timestamp_server
from pipeline.archive.timestamps.der import timestamp_request
from pipeline.archive.timestamps.token import get_timestamp, verify
from pipeline.errors import FetchError, UsageError
from tests.servers.timestamps import Fault, TimestampServer, openssl_verifies

pytestmark = pytest.mark.needs("openssl")
DATA = b"the file of a day"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TimestampServer]:
    with TimestampServer(tmp_path_factory.mktemp("tsa")) as started:
        yield started


def test_a_token_of_the_server_of_openssl_is_verified_and_openssl_confirms_what_is_stored(tsa: TimestampServer, tmp_path: Path) -> None:
    tsa.fault = ""
    found = get_timestamp(tsa.url.replace("http://", "http://user:geheim@"), SHA256, authorities=tsa.root)
    assert abs(found.at - datetime.now(UTC)) < timedelta(minutes=1)
    (tmp_path / "a.tsr").write_bytes(found.content)
    (tmp_path / "a").write_bytes(DATA)
    assert openssl_verifies(tmp_path / "a.tsr", tmp_path / "a", tsa.root)
    assert verify(found.content, SHA256, authorities=tsa.root) == found.at  # as `doctor` does later
    assert "Authorization" not in tsa.headers[-1]


def test_openssl_reads_the_request(tmp_path: Path) -> None:
    for nonce in (0, 1, 127, 128, 2**63 - 1):
        (tmp_path / "q").write_bytes(timestamp_request(bytes.fromhex(SHA256), nonce))
        said = subprocess.run(["openssl", "ts", "-query", "-in", str(tmp_path / "q"), "-text"], capture_output=True, text=True, check=True).stdout
        assert "Hash Algorithm: sha256" in said
        assert "Certificate required: yes" in said
        assert int(said.split("Nonce: ")[1].split()[0], 16) == nonce


@pytest.mark.parametrize(("fault", "says"), [
    ("nonce", "for another request"), ("imprint", "for another file"), ("garbage", "did not send a timestamp"), ("large", "more than 100000 bytes"),
    ("500", "HTTP status 500"), ("redirect", "HTTP status 307"), ("cut", "could not be reached"), ("refusal", "refused the request: "),
    ("expired", "has expired"), ("unsigned", "signature"), ("hang", "did not answer within 1 s"), ("drip", "did not answer within 1 s")])
def test_an_answer_that_proves_nothing_is_refused_with_its_reason(tsa: TimestampServer, fault: Fault, says: str) -> None:
    tsa.fault, limit_s = fault, 1.0 if fault in ("hang", "drip") else 20.0
    with pytest.raises(FetchError, match=says) as found:
        get_timestamp(tsa.url, SHA256, authorities=tsa.root, send=partial(timestamp_server.ask, limit_s=limit_s))
    assert found.value.retry


def test_an_authority_that_nobody_trusts_and_a_time_before_the_file_are_refused(tsa: TimestampServer, tmp_path: Path) -> None:
    tsa.fault = ""
    with pytest.raises(FetchError, match=r"is not trusted.*timestamp_ca"):
        get_timestamp(tsa.url, SHA256)
    with pytest.raises(FetchError, match="before the file was made"):
        get_timestamp(tsa.url, SHA256, authorities=tsa.root, not_before=datetime.now(UTC) + timedelta(days=1))
    (tmp_path / "empty.pem").write_bytes(b"")
    for file in ("missing.pem", "empty.pem"):
        with pytest.raises(UsageError, match="timestamp_ca"):
            get_timestamp(tsa.url, SHA256, authorities=tmp_path / file)


def test_no_byte_of_an_answer_can_be_changed_or_cut(tsa: TimestampServer) -> None:
    tsa.fault = ""
    answer = get_timestamp(tsa.url, SHA256, authorities=tsa.root).content
    for end in range(0, len(answer), 97):
        with pytest.raises(FetchError):
            verify(answer[:end], SHA256, authorities=tsa.root)
    at = answer.find(b"\x04\x20")
    with pytest.raises(FetchError):
        verify(answer[:at + 5] + bytes([answer[at + 5] ^ 1]) + answer[at + 6:], SHA256, authorities=tsa.root)
