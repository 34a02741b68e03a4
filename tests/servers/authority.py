"""A certificate authority for the servers of tests."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Authority:
    """A certificate authority of our own. ca_file: what to trust; pem: a server's certificate and key."""

    ca: trustme.CA
    folder: Path

    @property
    def ca_file(self) -> Path:
        path = self.folder / "ca.pem"
        self.ca.cert_pem.write_to_path(path)
        return path

    def issue(self, *, expired: bool = False, host: str = "127.0.0.1") -> trustme.LeafCert:
        return self.ca.issue_cert(host, not_after=datetime(2020, 1, 1, tzinfo=UTC) if expired else None,
                                  not_before=datetime(2019, 1, 1, tzinfo=UTC) if expired else None)

    def context(self, *, expired: bool = False, host: str = "127.0.0.1") -> ssl.SSLContext:
        """A server's TLS context with a certificate for `host`."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.issue(expired=expired, host=host).configure_cert(made)
        return made
