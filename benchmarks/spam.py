"""Spam scores of digests and alerts by SpamAssassin (local rules) and rspamd (offline).

rspamd verifies DKIM. The mails are the digests and alerts of benchmarks.digests, and a minimal message. Goals: at most 0.0 and less than 0.5. Their signatures are verified by dkimpy and, if it is installed, opendkim.

    python -m benchmarks.spam          # needs spamassassin (spamd, spamc) and rspamd; opendkim-tools
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.mime.text import MIMEText
from pathlib import Path

import dkim
import dns.message
import dns.rrset
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from benchmarks import digests
from benchmarks._digest_cases import CASES
from tests.servers.ports import free_port

CLIENT = {"IP": "203.0.113.25", "Helo": "mail.example.org", "Hostname": "mail.example.org",
          "From": "pipeline@mail.example.org", "Rcpt": "reader@example.net"}
"""What a receiving server knows of ours: rspamd is told, as it would be by Postfix."""
SPAM_GOAL, RSPAMD_GOAL = 0.0, 0.5
_RULE = re.compile(r"\s*(-?\d+\.\d+) ([A-Z][A-Z0-9_]+)\s")


@contextlib.contextmanager
def name_server(port: int, records: dict[str, str]) -> Iterator[None]:
    """Answers TXT questions from `records`, A and MX of our own host, everything else with nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", port))

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    question, peer = listening.recvfrom(4096)
                    asked = dns.message.from_wire(question)
                    answer = dns.message.make_response(asked)
                    name = asked.question[0].name
                    plain, kind = name.to_text().rstrip(".").lower(), asked.question[0].rdtype
                    text = records.get(plain)
                    if plain == CLIENT["Helo"] and kind in (dns.rdatatype.A, dns.rdatatype.MX):
                        value = CLIENT["IP"] if kind == dns.rdatatype.A else f"10 {CLIENT['Helo']}."
                        answer.answer.append(dns.rrset.from_text(name, 60, "IN", kind, value))
                    elif text and kind == dns.rdatatype.TXT:
                        parts = " ".join(f'"{text[at:at + 250]}"' for at in range(0, len(text), 250))
                        answer.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", parts))
                    else:
                        answer.set_rcode(dns.rcode.NXDOMAIN)
                    listening.sendto(answer.to_wire(), peer)

        threading.Thread(target=serve, daemon=True).start()
        yield


@contextlib.contextmanager
def spamd(folder: Path) -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen(["spamd", "-L", "-m", "1", "-i", "127.0.0.1", "-p", str(port), "--nouser-config", "-x",
                                "-u", "nobody", "-r", str(folder / "spamd.pid"), "-s", str(folder / "spamd.log")],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: socket.create_connection(("127.0.0.1", port), 1).close())
        yield port
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def rspamd(folder: Path, dns_port: int) -> Iterator[int]:
    """Offline: no lists, no statistics of others; DKIM is asked of our own name server."""
    port = free_port()
    config = folder / "cfg"
    shutil.copytree("/etc/rspamd", config)
    local = config / "local.d"
    local.mkdir(exist_ok=True)
    for part in ("db", "run", "log"):
        (folder / part).mkdir()
    (local / "worker-normal.inc").write_text(f'bind_socket = "127.0.0.1:{port}"; count = 1;\n')
    for worker in ("controller", "proxy", "fuzzy"):
        (local / f"worker-{worker}.inc").write_text("enabled = false;\n")
    (local / "logging.inc").write_text(f'type=file; filename="{folder}/log/rspamd.log"; level=notice;\n')
    (local / "options.inc").write_text(f'dns {{ nameserver = ["127.0.0.1:{dns_port}"]; timeout = 1s; retransmits = 1; }}\n')
    for module in ("rbl", "surbl", "fuzzy_check", "dmarc", "spf", "phishing", "asn", "greylist", "ratelimit",
                   "history_redis", "mx_check", "neural", "reputation", "url_redirector"):
        (local / f"{module}.conf").write_text("enabled = false;\n")
    folder.chmod(0o755)
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, "_rspamd", "_rspamd")
    variables = [f"--var={name}={value}" for name, value in {
        "CONFDIR": config, "LOCAL_CONFDIR": config, "DBDIR": folder / "db", "RUNDIR": folder / "run",
        "LOGDIR": folder / "log"}.items()]
    process = subprocess.Popen(["rspamd", "-f", "-u", "_rspamd", "-g", "_rspamd", "-c", str(config / "rspamd.conf"), *variables],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=1).close())
        yield port
    finally:
        process.terminate()
        process.wait(20)


def until(works: object, within_s: float = 120.0) -> None:
    deadline = time.monotonic() + within_s
    while True:
        try:
            works()  # type: ignore[operator]
        except (OSError, urllib.error.URLError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def by_spamassassin(port: int, content: bytes) -> tuple[float, str]:
    said = subprocess.run(["spamc", "-d", "127.0.0.1", "-p", str(port), "-R"], input=content, capture_output=True, check=False).stdout
    lines = said.decode("utf-8", "replace").splitlines()
    rules = [found[2] for found in map(_RULE.match, lines) if found and float(found[1])]
    return float(lines[0].split("/")[0]), " ".join(rules)


def by_rspamd(port: int, content: bytes) -> tuple[float, str]:
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/checkv2", data=content, headers=CLIENT)
    with urllib.request.urlopen(asked, timeout=30) as answer:
        found = json.load(answer)
    rules = [f"{name}({one['score']:g}{':' + one['options'][0] if name == 'URI_COUNT_ODD' else ''})" for name, one in found["symbols"].items() if one["score"]]
    if "R_DKIM_ALLOW" not in found["symbols"]:
        rules.append("no DKIM")
    return found["score"], " ".join(rules)


def bare() -> bytes:
    """A MIMEText with three headers."""
    message = MIMEText("<h1>Crawl finished</h1><a href='http://books.example/'>see</a>", "html", "utf-8")
    message["From"], message["To"], message["Subject"] = CLIENT["From"], CLIENT["Rcpt"], "scrapy"
    return message.as_bytes()


def main() -> int:
    missing = [program for program in ("spamd", "spamc", "rspamd") if shutil.which(program) is None]
    if missing or os.geteuid():
        print(f"skipped: needs {', '.join(missing) or 'root, to start spamd and rspamd'}")
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for part in ("mail", "spamd", "rspamd"):
            (folder / part).mkdir()
        folder.chmod(0o755)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        (folder / "dkim.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public = base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
        table = f'[mail.dkim]\ndomain = "{CLIENT["Helo"]}"\nselector = "s1"\nkey = {{ file = "{folder / "dkim.pem"}" }}'
        with contextlib.redirect_stdout(io.StringIO()):
            found = {name: page.with_suffix(".eml").read_bytes() for name, page in digests.build(list(CASES), folder / "mail", table).items()}
        dns_port = free_port()
        records = {f"s1._domainkey.{CLIENT['Helo']}": f"v=DKIM1; k=rsa; p={public}"}
        with (name_server(dns_port, records), spamd(folder / "spamd") as spamd_port,
              rspamd(folder / "rspamd", dns_port) as rspamd_port):
            missed = 0
            print(f"{'message':<22}{'SpamAssassin':>12}{'rspamd':>8}  DKIM")
            for name, content in {**found, "(a minimal message)": bare()}.items():
                one, why = by_spamassassin(spamd_port, content)
                other, because = by_rspamd(rspamd_port, content)
                signed = "" if name.startswith("(") else verified(content, records, folder)
                missed += not name.startswith("(") and (one > SPAM_GOAL or other >= RSPAMD_GOAL or "invalid" in signed)
                print(f"{name:<22}{one:>12.1f}{other:>8.2f}  {signed}  {why} | {because}")
    print(f"goals: at most {SPAM_GOAL} and less than {RSPAMD_GOAL}: {'met' if not missed else f'missed by {missed}'}")
    return 1 if missed else 0


def verified(content: bytes, records: dict[str, str], folder: Path) -> str:
    """What dkimpy says of the signature, and opendkim."""
    said = ["valid" if dkim.verify(content, dnsfunc=lambda name, timeout=5: records[name.decode().rstrip(".")].encode()) else "invalid"]
    if shutil.which("opendkim"):
        (folder / "opendkim.conf").write_text(f"Mode v\nTestPublicKeys {folder / 'keys'}\n")
        (folder / "keys").write_text("".join(f"{name} {text}\n" for name, text in records.items()))
        (folder / "one.eml").write_bytes(content)
        done = subprocess.run(["opendkim", "-x", str(folder / "opendkim.conf"), "-t", str(folder / "one.eml")], capture_output=True, text=True, check=False)
        said.append("valid" if not done.returncode and "succeeded" in done.stdout + done.stderr else f"invalid ({(done.stdout + done.stderr).strip()})")
    return ", ".join(said)


if __name__ == "__main__":
    sys.exit(main())
