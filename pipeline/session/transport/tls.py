"""Creates the TLS contexts of a session, with the authorities of the system and of `ca_file`."""

from __future__ import annotations

import ssl
import sys
import threading
from pathlib import Path
from typing import Any

import certifi

from pipeline.errors import UsageError
from pipeline.hosts import normal_host


class TlsContexts:
    """The TLS contexts of one session, each created at first use. Thread-safe.

    ca_file: a PEM file of additional certificate authorities; insecure_hosts: hosts whose certificates are not verified.
    """

    def __init__(self, ca_file: Path | None = None, insecure_hosts: frozenset[str] = frozenset()) -> None:
        self._ca_file = ca_file
        self.insecure_hosts = insecure_hosts
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    @property
    def verify(self) -> bool | str:
        """The value for the parameter `verify` of the library requests.

        The value is False if insecure_hosts names any host; otherwise the path of ca_file, or True without a ca_file.
        """
        return False if self.insecure_hosts else str(self._ca_file) if self._ca_file else True

    def is_exception(self, host: str) -> bool:
        """Return whether the certificates of a host are verified otherwise than by the well-known authorities alone."""
        return self._ca_file is not None or normal_host(host) in self.insecure_hosts

    def context_for(self, host: str | None = None) -> ssl.SSLContext:
        """Return the TLS context for a host.

        host: None means the context for all hosts, which verifies no certificates if insecure_hosts names any host. Raises
        UsageError if ca_file cannot be read.
        """
        insecure = bool(self.insecure_hosts) if host is None else normal_host(host) in self.insecure_hosts
        with self._lock:
            if insecure not in self._contexts:
                self._contexts[insecure] = _unverified_context() if insecure else verified_context(self._ca_file)
            return self._contexts[insecure]


def verified_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a client context that trusts the system's certificate authorities and those in ca_file.

    If the system has no certificate authorities, the context trusts the authorities in certifi, the package that requests uses.
    """
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)  # this protocol verifies certificates and host names
    if sys.version_info >= (3, 13):  # the same flags as in ssl.create_default_context()
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    context.load_default_certs()
    paths = ssl.get_default_verify_paths()
    if paths.cafile is None and paths.capath is None:
        context.load_verify_locations(certifi.where())
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            reason = "the file contains no PEM certificates" if isinstance(error, ssl.SSLError) else error.strerror
            raise UsageError(f"the file cannot be used as `ca_file`: {reason}", where=str(ca_file),
                             fix="set `ca_file` to a PEM file of certificates") from error
    return context


class _Context(ssl.SSLContext):
    """A TLS context that reports an error when a connection ends without close_notify.

    The data of such a connection may be incomplete. By default, Python would treat it like a connection that ended normally.
    """

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        return super().wrap_socket(*arguments, **{**options, "suppress_ragged_eofs": False})


def _unverified_context() -> ssl.SSLContext:
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
