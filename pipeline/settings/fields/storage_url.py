"""The URL of a place in an object store, such as "s3://bucket/prefix"."""

from __future__ import annotations

import re

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""Bucket names as Amazon S3 allows them: 3 to 63 letters, digits, dots and hyphens."""
SCHEME = "s3://"


def split_storage_url(url: str) -> tuple[str, str]:
    """Return the bucket and the path in it, without slashes around it. Raises ValueError with a text for the user."""
    if not url.startswith(SCHEME):
        raise ValueError('only object stores with the protocol of Amazon S3 are supported; write a URL such as "s3://bucket/prefix"')
    bucket, _, path = url.removeprefix(SCHEME).partition("/")
    path = path.strip("/")
    if not _BUCKET.fullmatch(bucket) or re.search(r"[?#\\\0]", path) or (path and any(part in ("", ".", "..") for part in path.split("/"))):
        raise ValueError('this is not the URL of a bucket; write a URL such as "s3://bucket/prefix"')
    return bucket, path
