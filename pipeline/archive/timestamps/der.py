"""The DER (X.690) of a timestamp request, and the certificates of an answer in the order of DER."""

from __future__ import annotations

_SHA256 = bytes.fromhex("300d06096086480165030402010500")
"""AlgorithmIdentifier of SHA-256 with NULL parameters (RFC 3370, section 2.1; RFC 5754)."""
_INTEGER, _BOOLEAN_TRUE, _OCTETS, _SEQUENCE, _CERTIFICATES = 0x02, b"\x01\x01\xff", 0x04, 0x30, 0xA0


def timestamp_request(sha256: bytes, nonce: int) -> bytes:
    """Return a TimeStampReq (RFC 3161, section 2.4.1) for a SHA-256, which asks for the server's certificate.

    rfc3161-client makes requests only for content that is in memory as a whole, and not for the hash of a large file. nonce: not negative.
    """
    imprint = _element(_SEQUENCE, _SHA256 + _element(_OCTETS, sha256))
    return _element(_SEQUENCE, _integer(1) + imprint + _integer(nonce) + _BOOLEAN_TRUE)


def sorted_certificates(answer: bytes) -> bytes:
    """Return a TimeStampResp with the certificates of its token in the order of DER (X.690, section 11.6).

    `openssl ts` and servers that are made of it write them in any order, which rfc3161-client refuses. No signature covers this set. An answer
    without a token, or of another form, is returned as it is.
    """
    try:
        start, end = _content_of_signed_data(answer)
        while start < end:
            tag, content, after = _read(answer, start)
            if tag == _CERTIFICATES:
                return answer[:content] + b"".join(sorted(_elements(answer, content, after))) + answer[after:]
            start = after
    except (IndexError, ValueError):
        pass
    return answer


def _content_of_signed_data(answer: bytes) -> tuple[int, int]:
    """Return where the content of the SignedData (RFC 5652, section 5.1) of an answer begins and ends."""
    _, status, end_of_answer = _read(answer, 0)
    _, _, token = _read(answer, status)
    if token >= end_of_answer:
        raise ValueError("the answer has no token")
    _, content_type, _ = _read(answer, token)
    _, _, wrapper = _read(answer, content_type)
    _, signed_data, _ = _read(answer, wrapper)
    _, start, end = _read(answer, signed_data)
    return start, end


def _elements(data: bytes, start: int, end: int) -> list[bytes]:
    found = []
    while start < end:
        _, _, after = _read(data, start)
        found.append(data[start:after])
        start = after
    return found


def _read(data: bytes, at: int) -> tuple[int, int, int]:
    """Return the tag of the element at a place, where its content begins, and where the element ends."""
    tag, length, start = data[at], data[at + 1], at + 2
    if length & 0x80:
        start, length = start + (length & 0x7F), int.from_bytes(data[start:start + (length & 0x7F)], "big")
    if start + length > len(data):
        raise ValueError("the element is cut")
    return tag, start, start + length


def _integer(value: int) -> bytes:
    return _element(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _element(tag: int, content: bytes) -> bytes:
    """Return an element of less than 128 bytes: all elements of a request are that short."""
    return bytes([tag, len(content)]) + content
