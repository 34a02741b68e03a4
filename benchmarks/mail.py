"""Time and memory of a large digest, and many small messages beside yagmail's send().

The large digest is rendered and sent.

    python -m benchmarks.mail

Goals: 10,000 changes with a 20 MB attachment rendered in under 5 s with under 3 times the attachment in memory above
idle, sent with under 10 MB; 1,000 messages over TLS with AUTH at least 5 times as fast as yagmail's own send().
"""

from __future__ import annotations

import logging
import os
import ssl
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import trustme
import yagmail

from pipeline.mail.digests.build import build
from pipeline.mail.outbox import RetryPolicy, deliver_due
from pipeline.mail.transports.smtp import SmtpTransport
from pipeline.mail.transports.smtp_server import SmtpCredentials
from pipeline.model import DraftMessage
from pipeline.settings import load
from pipeline.store import open_store
from pipeline.store.mail import digests, outbox
from tests.mail.conftest import NOW, Site
from tests.servers.smtp import SmtpServer

CHANGES = 10_000
ATTACHMENT = 20_000_000
MESSAGES = 1_000
YAGMAIL_MESSAGES = 200
"""Fewer of these: its time grows in step with them."""
BODY = (b"Date: Sun, 22 Nov 2026 08:00:00 +0000\r\nFrom: a@example.com\r\nTo: b@example.com\r\nSubject: hello\r\n\r\n"
        + b"A line of text that a digest might hold.\r\n" * 40)


def utc_now() -> datetime:
    return datetime.now(UTC)


def memory_bytes(name: str) -> int:
    """VmRSS (now) or VmHWM (the peak) of this process. getrusage's peak is the parent's: it survives exec."""
    line = next(one for one in Path("/proc/self/status").read_text("ascii").splitlines() if one.startswith(name))
    return int(line.split()[1]) * 1024


def idle_bytes() -> int:
    """Resident now; the peak counts from here on."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory_bytes("VmRSS")


def prepare(folder: Path) -> None:
    (folder / "settings.toml").write_text(
        '[mail]\nfrom = "a@example.com"\n[spiders.books]\nstart = "https://books.example/"\n[digests.d]\nspiders = ["books"]\n'
        'to = ["b@example.com"]\nattach = ["xlsx", "downloads"]\nattach_limit = "50MB"\n', "utf-8")
    store = open_store(folder / "var")
    site = Site(store)
    site.run({f"https://books.example/{n}": {"title": f"Book {n}", "price": f"£{n % 90}.50", "about": "x" * 200}
              for n in range(CHANGES)}, files=[("big.bin", os.urandom(ATTACHMENT), "application/x-big")])
    store.close()


def render(folder: Path) -> None:
    """In a process of its own: seconds, and bytes above idle."""
    settings = load(folder / "settings.toml")
    store = open_store(folder / "var")
    claim = digests.claim(store, "d", ["books"], "s", owner="me", now=NOW)
    assert claim is not None
    idle, begun = idle_bytes(), time.perf_counter()
    build(store, settings, claim, owner="me", now=NOW)
    print(time.perf_counter() - begun, memory_bytes("VmHWM") - idle)


def send(folder: Path, port: int) -> None:
    """In a process of its own: seconds, and bytes above idle."""
    store = open_store(folder / "var")
    transport = SmtpTransport("127.0.0.1", port, security="none")
    transport.connect()
    idle, begun = idle_bytes(), time.perf_counter()
    attempts = deliver_due(store, transport, owner="me", now=utc_now, policy=RetryPolicy(1e9))
    print(time.perf_counter() - begun, memory_bytes("VmHWM") - idle)
    assert [attempt.accepted for attempt in attempts] == [1]


def apart(work: str, folder: Path, *arguments: str) -> tuple[float, int]:
    said = subprocess.run([sys.executable, "-m", "benchmarks.mail", work, str(folder), *arguments], check=True,
                          capture_output=True, text=True).stdout.split()
    return float(said[0]), int(said[1])


def many(folder: Path) -> tuple[float, float]:
    """Messages a second: ours from the outbox, yagmail's send(), to the same server over TLS with AUTH."""
    logging.disable(logging.WARNING)  # aiosmtpd's word on its own future
    ca = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    ca.cert_pem.write_to_path(folder / "ca.pem")
    store = open_store(folder / "many")
    for number in range(MESSAGES):
        store.files.write(f"messages/{number}.eml", b"Message-ID: <%d@example.com>\r\n" % number + BODY)
        outbox.enqueue(store, DraftMessage(f"<{number}@example.com>", "hello", "a@example.com", ("b@example.com",),
                                           f"messages/{number}.eml", len(BODY)), now=utc_now())
    with SmtpServer(users={"me": "secret"}, tls=context, implicit=True) as server:
        transport = SmtpTransport("127.0.0.1", server.port, security="tls", credentials=SmtpCredentials("me", password=lambda: "secret"),
                                  ca_file=str(folder / "ca.pem"))
        begun = time.perf_counter()
        deliver_due(store, transport, owner="me", now=utc_now, policy=RetryPolicy(1e9))
        ours = MESSAGES / (time.perf_counter() - begun)
        assert len(server.received) == MESSAGES
        trusted = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        begun = time.perf_counter()
        for _ in range(YAGMAIL_MESSAGES):  # as its README sends, and as the course did: a client, a message
            client = yagmail.SMTP({"me": "me"}, "secret", host="127.0.0.1", port=server.port, context=trusted,
                                  soft_email_validation=False)
            client.send("b@example.com", "hello", BODY.decode(), prettify_html=False)
            client.close()
        each = YAGMAIL_MESSAGES / (time.perf_counter() - begun)
        client = yagmail.SMTP({"me": "me"}, "secret", host="127.0.0.1", port=server.port, context=trusted,
                              soft_email_validation=False)
        before, begun = server.connections, time.perf_counter()
        for _ in range(YAGMAIL_MESSAGES):
            client.send("b@example.com", "hello", BODY.decode(), prettify_html=False)
        kept = YAGMAIL_MESSAGES / (time.perf_counter() - begun)
        client.close()
        connections = server.connections - before
    print(f"{MESSAGES} messages over TLS with AUTH: {ours:.0f}/s from the outbox, each leased, synced and marked; "
          f"yagmail's send() {each:.0f}/s with a client each, {kept:.0f}/s with one for all (which connected {connections} times): "
          f"{ours / each:.1f} and {ours / kept:.1f} times")
    return ours, each


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        seconds, memory = apart("render", folder)
        print(f"{CHANGES} changes and {ATTACHMENT / 1e6:.0f} MB rendered in {seconds:.1f} s, {memory / 1e6:.0f} MB above idle "
              f"({memory / ATTACHMENT:.1f} times the attachment)")
        with SmtpServer(max_bytes=100_000_000) as server:
            seconds, memory = apart("send", folder, str(server.port))
        print(f"sent in {seconds:.1f} s, {memory / 1e6:.1f} MB above idle")
        many(folder)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    elif sys.argv[1] == "render":
        render(Path(sys.argv[2]))
    else:
        send(Path(sys.argv[2]), int(sys.argv[3]))
