"""A timestamp server (RFC 3161) whose answers `openssl ts -reply` makes.

It can answer wrongly in every way.
"""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Fault = Literal["", "nonce", "imprint", "garbage", "large", "hang", "drip", "500", "redirect", "cut", "refusal", "expired", "unsigned"]
_SETTINGS = """
[ts]
default_tsa = tsa
[tsa]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/{signer}.pem
signer_key = {folder}/{signer}.key
certs = {folder}/root.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
"""
_DAY = dt.timedelta(days=1)


class TimestampServer:
    """A started server. fault: what is wrong with the next answers. `queries` counts the requests; `root` is the file of its authority.

    Needs the program openssl.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fault: Fault = ""
        self.queries = 0
        self.headers: list[dict[str, str]] = []
        self._stopping = threading.Event()
        folder.mkdir(exist_ok=True)
        (folder / "serial").write_text("01\n")
        self.root = folder / "root.pem"
        self._make_certificates()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                server.queries += 1
                server.headers.append(dict(self.headers))
                server.answer(self, self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/tsr"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def _make_certificates(self) -> None:
        now = dt.datetime.now(dt.UTC)
        key, authority = ec.generate_private_key(ec.SECP256R1()), "an authority of timestamps"
        for name, until in (("root", now + 99 * _DAY), ("good", now + 9 * _DAY), ("expired", now - _DAY)):
            own = key if name == "root" else ec.generate_private_key(ec.SECP256R1())
            built = x509.CertificateBuilder(_name(authority), _name(authority if name == "root" else f"timestamps, {name}"), own.public_key(),
                                            x509.random_serial_number(), now - 9 * _DAY, until)
            built = built.add_extension(x509.BasicConstraints(ca=name == "root", path_length=None), critical=True)
            if name != "root":
                built = built.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
                (self.folder / f"{name}.key").write_bytes(own.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
                (self.folder / f"{name}.conf").write_text(_SETTINGS.format(folder=self.folder, signer=name))
            (self.folder / f"{name}.pem").write_bytes(built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def reply(self, query: bytes, signer: str = "good") -> bytes:
        """Return the answer that openssl makes for a query."""
        file = self.folder / f"query-{threading.get_ident()}-{os.urandom(4).hex()}"
        file.write_bytes(query)
        subprocess.run(["openssl", "ts", "-reply", "-queryfile", str(file), "-config", str(self.folder / f"{signer}.conf"), "-section", "tsa",
                        "-out", f"{file}.tsr"], check=True, capture_output=True)
        return Path(f"{file}.tsr").read_bytes()

    def answer(self, handler: BaseHTTPRequestHandler, query: bytes) -> None:
        fault = self.fault
        if fault == "hang":
            self._stopping.wait(60)
            return
        if fault in ("500", "redirect"):
            handler.send_response(500 if fault == "500" else 307)
            handler.send_header("Location", self.url)
            handler.end_headers()
            return
        if fault == "drip":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while not self._stopping.wait(0.2):
                handler.wfile.write(b"X-More: y\r\n")
            return
        content = self._content(fault, query)
        handler.send_response(200)
        handler.send_header("Content-Type", "application/timestamp-reply")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:-20] if fault == "cut" else content)

    def _content(self, fault: Fault, query: bytes) -> bytes:
        digest = query.partition(b"\x04\x20")[2][:32]
        match fault:
            case "nonce":
                asked = subprocess.run(["openssl", "ts", "-query", "-digest", digest.hex(), "-sha256", "-cert"], check=True, capture_output=True)
                return self.reply(asked.stdout)
            case "imprint":
                return self.reply(query.replace(digest, digest[::-1]))
            case "refusal":
                return self.reply(b"what is this?")
            case "garbage":
                return b"<html>It works!</html>"
            case "large":
                return b"\x30\x82" + bytes(1_000_000)
            case "unsigned":
                answer = self.reply(query)
                return answer[:-10] + bytes(10)
            case "expired":
                return self.reply(query, fault)
            case _:
                return self.reply(query)

    def close(self) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def openssl_verifies(answer: Path, data: Path, root: Path) -> bool:
    """Return whether `openssl ts -verify` accepts a stored answer for a file."""
    done = subprocess.run(["openssl", "ts", "-verify", "-in", str(answer), "-data", str(data), "-CAfile", str(root)], capture_output=True, check=False)
    return done.returncode == 0 and b"Verification: OK" in done.stdout + done.stderr


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
