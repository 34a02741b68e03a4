"""Content codings: complete bodies in any pieces, cut-off bodies, size limits, bytes after the end."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable

import brotli
import pytest
from backports import zstd

from pipeline.content_coding import ContentDecoder, CutShortError, DecodingError, OversizeError, codings_of, decode

DATA = "".join(f"{number},{number * number}\n" for number in range(3000)).encode()


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def br(data: bytes) -> bytes:
    return brotli.compress(data, quality=5)  # the default takes a hundred times as long


def several(pack: Callable[[bytes], bytes], between: bytes = b"") -> Callable[[bytes], bytes]:
    return lambda data: pack(data[:999]) + between + pack(data[999:])


STREAMS: dict[str, tuple[tuple[str, ...], Callable[[bytes], bytes]]] = {
    "gzip": (("gzip",), gzip.compress),
    "gzip members": (("x-gzip",), several(gzip.compress)),
    "zlib": (("deflate",), zlib.compress),
    "raw deflate": (("deflate",), raw_deflate),
    "br": (("br",), br),
    "zstd": (("zstd",), zstd.compress),
    "zstd frames": (("zstd",), several(zstd.compress, b"\x5f\x2a\x4d\x18\x03\0\0\0abc")),
    "gzip in br": (("gzip", "br"), lambda data: br(gzip.compress(data))),
    "br in zstd in gzip": (("br", "zstd", "gzip"), lambda data: gzip.compress(zstd.compress(br(data)))),
}
KINDS = [pytest.param(*entry, id=name) for name, entry in STREAMS.items()]


def in_pieces(body: bytes, codings: tuple[str, ...], size: int) -> bytes:
    decoder = ContentDecoder(codings)
    decoded = b"".join(piece for at in range(0, len(body), size) for piece in decoder.feed(body[at:at + size]))
    decoder.finish()
    return decoded


@pytest.mark.parametrize(("codings", "pack"), KINDS)
def test_a_complete_body_is_decoded_in_any_pieces(codings: tuple[str, ...], pack: Callable[[bytes], bytes]) -> None:
    for data in (DATA, b"", b"x", random.Random(1).randbytes(200_000), bytes(3_000_000)):
        body = pack(data)
        assert decode(body, codings) == data
        assert in_pieces(body, codings, 1009) == data
    assert in_pieces(pack(DATA), codings, 1) == DATA


@pytest.mark.parametrize(("codings", "pack"), KINDS)
def test_a_cut_off_body_is_complete_only_where_a_member_ends(codings: tuple[str, ...], pack: Callable[[bytes], bytes]) -> None:
    body = pack(DATA)
    taken = []
    edge = len(pack(DATA[:999])) + 20  # with the end of the first of several members
    for cut in (*range(1, edge), *range(edge, len(body) - 30, 7), *range(len(body) - 30, len(body))):
        try:
            decode(body[:cut], codings)
        except CutShortError:
            continue
        taken.append(cut)
    assert len(taken) <= (2 if "several" in pack.__qualname__ else 0), taken


@pytest.mark.parametrize(("codings", "pack"), KINDS)
@pytest.mark.parametrize("garbage", [b"<!-- cached -->", bytes(512), b"\r\n", b"\x1f", b"\xff" * 70_000])
def test_bytes_after_a_complete_body_are_ignored(codings: tuple[str, ...], pack: Callable[[bytes], bytes], garbage: bytes) -> None:
    if garbage == b"\x1f" and codings[-1].endswith("gzip"):
        with pytest.raises(CutShortError):  # it may be the beginning of another member
            decode(pack(DATA) + garbage, codings)
        return
    assert decode(pack(DATA) + garbage, codings) == DATA
    assert in_pieces(pack(DATA) + garbage, codings, 777) == DATA


@pytest.mark.parametrize("codings", [("gzip",), ("deflate",), ("br",), ("zstd",), ("gzip", "br")])
def test_an_empty_body_is_complete(codings: tuple[str, ...]) -> None:
    assert decode(b"", codings) == b""


@pytest.mark.parametrize("codings", [("gzip",), ("deflate",), ("br",), ("zstd",)])
def test_another_format_is_reported(codings: tuple[str, ...]) -> None:
    with pytest.raises((DecodingError, CutShortError)):
        decode(b"<html><p>not coded at all</p></html>" * 50, codings)


@pytest.mark.parametrize(("codings", "pack"), KINDS)
def test_a_bomb_is_stopped_at_the_limit(codings: tuple[str, ...], pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(OversizeError):
        decode(pack(bytes(10_000_000)), codings, max_bytes=1_000_000)


def test_unknown_names_of_codings_are_ignored() -> None:
    assert codings_of(["GZIP , br", "identity", "", "utf-8, x-gzip"]) == ("gzip", "br", "x-gzip")


@pytest.mark.parametrize(("values", "words"), [(["compress"], "compress, which is not supported"), (["gzip"] * 6, "6 content codings")])
def test_codings_without_a_decoder_are_reported(values: list[str], words: str) -> None:
    with pytest.raises(DecodingError, match=words):
        codings_of(values)
