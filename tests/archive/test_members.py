"""Files that are no archive files, or damaged ones: always the same error.

They never raise another exception.
"""

from __future__ import annotations

import gzip
import importlib
import inspect
import pkgutil
import random
from contextlib import suppress
from io import BytesIO

import pytest
import warcio
from hypothesis import given
from hypothesis import strategies as st
from warcio.bufferedreaders import ChunkedDataException

from pipeline.archive.errors import RecordError
from pipeline.archive.format.members import READ_ERRORS, parsed, records_of
from pipeline.archive.format.records import RecordWriter
from pipeline.archive.format.redaction import Redaction
from tests.archive.exchanges import NOW, exchange

UNUSED = {ChunkedDataException}
"""Raised only if asked for, by a reader of chunks, which is not used: bodies are stored without them."""


def test_every_exception_of_warcio_is_translated() -> None:
    modules = [importlib.import_module(f"warcio.{module.name}") for module in pkgutil.iter_modules(warcio.__path__) if module.name not in {"cli", "capture_http"}]
    found = {each for module in modules for _, each in inspect.getmembers(module, inspect.isclass)
             if issubclass(each, Exception) and each.__module__.startswith("warcio")}
    assert found
    assert {each for each in found if not issubclass(each, READ_ERRORS)} == UNUSED


HEAD = "WARC/1.1\r\nWARC-Type: response\r\nWARC-Target-URI: http://a/\r\n"


@pytest.mark.parametrize("data", [b"", b"\r\n\r\n", b"x", b"HTTP/1.1 200 OK\r\n\r\n", b"WARC/1.1\r\n\r\n\r\n\r\n", b"WARC/9.9\r\nA: b\r\n\r\n\r\n\r\n",
                                  f"{HEAD}Content-Length: 5\r\n\r\nabc\r\n\r\n".encode(), f"{HEAD}Content-Length: -5\r\n\r\nabc\r\n\r\n".encode(),
                                  f"{HEAD}Content-Length: x\r\n\r\nabc\r\n\r\n".encode(), f"{HEAD}\r\nabc\r\n\r\n".encode(),
                                  f"{HEAD}Content-Length: 3\r\nWARC-Block-Digest: sha256:00\r\n\r\nabc\r\n\r\n".encode()])
def test_what_is_no_record_is_an_error(data: bytes) -> None:
    with pytest.raises(RecordError):
        parsed(data, 0, len(data))
    with pytest.raises(RecordError):
        list(records_of(BytesIO(gzip.compress(data))))


@given(st.integers(0, 10**6), st.integers(0, 255), st.booleans())
def test_a_damaged_file_is_an_error_or_has_other_records(seed: int, byte: int, is_inside: bool) -> None:
    made = RecordWriter("books", 7, Redaction())
    members = [made.warcinfo("a.warc.gz", NOW), *(each.member for each in made.records(exchange(), lambda url: None))]
    randomness = random.Random(seed)
    if is_inside:  # damage that gzip does not notice
        data = bytearray(gzip.decompress(members[1]))
        data[randomness.randrange(len(data))] = byte
        members[1] = gzip.compress(data)
        file = b"".join(members)
    else:
        data = bytearray(b"".join(members))
        data[randomness.randrange(len(data))] = byte
        file = bytes(data)
    with suppress(RecordError):
        assert len(list(records_of(BytesIO(file)))) == len(members)
