"""Makes the certificate that the guard proxy shows to the browser for hosts whose TLS it terminates."""

from __future__ import annotations

import base64
import hashlib
import os
import ssl
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def make_certificate(now: datetime) -> tuple[ssl.SSLContext, str]:
    """Return a server's TLS context with a new key, and the base64 SHA-256 of its SubjectPublicKeyInfo.

    Chromium accepts any certificate with this key for any host, if it is started with the hash in the argument
    --ignore-certificate-errors-spki-list. Nobody else knows the key: it exists in memory only, but for the moment in which ssl reads it.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "guard proxy")])
    certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                   .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
                   .not_valid_after(now + timedelta(days=30)).sign(key, hashes.SHA256()))
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    descriptor, path = tempfile.mkstemp(suffix=".pem")  # mode 0600; ssl reads keys from files only
    try:
        os.write(descriptor, pem + certificate.public_bytes(serialization.Encoding.PEM))
        os.close(descriptor)
        context.load_cert_chain(path)
    finally:
        Path(path).unlink()
    return context, base64.b64encode(hashlib.sha256(public).digest()).decode()


