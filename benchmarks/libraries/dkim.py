"""DKIM signatures: ours beside dkimpy's.

    python -m benchmarks.libraries.dkim

Peak memory and CPU time of signing a message of 25 MB, each in a process of its own; and 50 messages signed by both with the same
headers, algorithm and time, whose hashes and RSA signatures must be equal.
"""

# ruff: noqa: PLC0415  each process imports only the library that it measures
from __future__ import annotations

import base64
import io
import random
import re
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pipeline.mail.message.dkim import SIGNED, Signer

HEAD = (b"From: Me <me@example.com>\r\nTo: you@example.com\r\nSubject:  two\r\n  lines\t x \r\nMessage-ID: <1@example.com>\r\n"
        b"Date: Thu, 01 Jan 2026 00:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n")
LINE = b"0123456789abcdef" * 4 + b"\r\n"
SIZE = 25_000_000
AT = datetime(2026, 1, 1, tzinfo=UTC)


def peak_kb() -> int:
    """The peak of resident memory since the program was started (getrusage also counts the parent's)."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])


def sign(library: str, key: str, file: str) -> None:
    """Print the memory in MB before and at the peak, and the CPU seconds."""
    signer = Signer("example.com", "mail", key)
    if library == "dkimpy":
        import dkim
    before, began = peak_kb(), time.process_time()
    if library == "dkimpy":
        dkim.sign(Path(file).read_bytes(), b"mail", b"example.com", key.encode(), canonicalize=(b"relaxed", b"simple"))
    else:
        with Path(file).open("rb") as message:
            signer.header(message, at=AT)
    print(before / 1000, peak_kb() / 1000, time.process_time() - began)


def tag(header: bytes, name: bytes) -> bytes:
    found = re.search(rb"[;\s]" + name + rb"=([^;]*)", header)
    assert found is not None
    return re.sub(rb"\s", b"", found[1])


def agreeing(key: str) -> int:
    """How many of 50 random messages both sign alike. The signature covers the header's own folding, so that dkimpy verifies ours."""
    import dkim

    rng, agreed = random.Random(7), 0
    for _ in range(50):
        body = b"".join(rng.choice([b"a", b" ", b"\t", b"\r\n", b".", b"\r\n\r\n", b"=C3=BC", b"x" * 70_000]) for _ in range(rng.randrange(60)))
        extra = b"".join(rng.sample([b"List-Id: <a.example.com>\r\n", b"Cc: c@example.com\r\n", b"X-Other:  y\r\n", b"Auto-Submitted: auto-generated\r\n"],
                                    rng.randrange(4)))
        message = extra + HEAD + body
        ours = Signer("example.com", "mail", key).header(io.BytesIO(message), at=AT)
        names = [name.encode() for name in SIGNED if re.search(rb"(?mi)^" + name.encode() + rb":", message.partition(b"\r\n\r\n")[0])]
        theirs = dkim.sign(message, b"mail", b"example.com", key.encode(), canonicalize=(b"relaxed", b"simple"), include_headers=[*names, b"from"])
        public = subprocess.run(["openssl", "rsa", "-pubout", "-outform", "DER"], input=key.encode(), capture_output=True, check=True).stdout
        record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)
        verified = all(dkim.verify(header + message, dnsfunc=lambda name, timeout=5, record=record: record) for header in (ours, theirs))
        agreed += verified and tag(ours, b"bh") == tag(theirs, b"bh")
    return agreed


def main() -> None:
    if len(sys.argv) > 1:
        sign(sys.argv[1], sys.stdin.read(), sys.argv[2])
        return
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with tempfile.NamedTemporaryFile() as file:
        file.write(HEAD + LINE * (SIZE // len(LINE)))
        file.flush()
        for library in ("ours", "dkimpy"):
            done = subprocess.run([sys.executable, "-m", "benchmarks.libraries.dkim", library, file.name], input=key, text=True,
                                  capture_output=True, check=True)
            before, peak, cpu = map(float, done.stdout.split())
            print(f"{library:8} peak {peak:5.0f} MB, {peak - before:5.1f} MB of them for a message of 25 MB; {cpu:.2f} s of CPU")
    print(f"{agreeing(key)} of 50 messages: the same hash of the body, and dkimpy verifies both signatures")


if __name__ == "__main__":
    main()
