"""Where an object store is and how it is accessed: what [pipeline] storage and [pipeline.s3] say."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pipeline.errors import UsageError
from pipeline.settings import Settings
from pipeline.settings.fields.storage_url import split_storage_url

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_ENDPOINT = 'write a URL such as "https://minio.example.com"; the variable AWS_ENDPOINT_URL has the same form'
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


@dataclass(frozen=True)
class ObjectStorage:
    """A prefix of a bucket. endpoint, region, access_key, secret_key: "" takes the value of the environment (AWS_*).

    allow_http: whether an endpoint without TLS may be used. cache_bytes: maximum size of the copies of objects on this node.
    """

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = ""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    allow_http: bool = False
    cache_bytes: int = 10**9

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def uses_http(self) -> bool:
        """Whether the endpoint has no TLS.

        Raises UsageError if the endpoint is not valid, or has no TLS on another machine without a setting that allows it.
        """
        endpoint = self.endpoint or next((value for name in _ENDPOINTS if (value := os.environ.get(name))), "")
        scheme, host = _checked(endpoint) if endpoint else ("", "")
        if scheme == "http" and not self.allow_http and host not in _LOOPBACK:
            raise UsageError(f"the endpoint {host} has no TLS, so others in the network could read the files", where="pipeline.s3.endpoint",
                             fix="write https, or set [pipeline.s3] allow_http = true")
        return scheme == "http"


def _checked(endpoint: str) -> tuple[str, str]:
    """Return the scheme and the host of an endpoint. Raises UsageError, without the URL if it contains secrets, if it is not the URL of a server."""
    try:
        parts = urlsplit(endpoint)
        _ = parts.port
    except ValueError as error:
        raise UsageError("the endpoint is not a URL", where="pipeline.s3.endpoint", fix=_ENDPOINT) from error
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError("the endpoint contains more than scheme, host and port", where="pipeline.s3.endpoint",
                         fix="write credentials as secrets: access_key and secret_key in [pipeline.s3]")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError("the endpoint is not an http(s) URL", where="pipeline.s3.endpoint", fix=_ENDPOINT)
    return parts.scheme, parts.hostname


def storage_of(settings: Settings, *, with_keys: bool = True) -> ObjectStorage | None:
    """Return the object store of the settings; None if files are in data_dir.

    with_keys: whether to read the keys in [pipeline.s3], which are secrets. Raises UsageError if a secret cannot be read.
    """
    if settings.pipeline.storage is None:
        return None
    bucket, prefix = split_storage_url(settings.pipeline.storage)
    table = settings.pipeline.s3
    return ObjectStorage(bucket, prefix, endpoint=table.endpoint, region=table.region, allow_http=table.allow_http, cache_bytes=table.cache_size,
                         access_key=table.access_key.reveal() if with_keys and table.access_key is not None else "",
                         secret_key=table.secret_key.reveal() if with_keys and table.secret_key is not None else "")
