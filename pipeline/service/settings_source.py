"""Where the settings of a service come from.

A file, or a URL whose content is copied to a file in the current folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from pipeline.atomic_write import replace_file
from pipeline.errors import StoreError, UsageError
from pipeline.settings import Settings, load
from pipeline.settings.fields.scalars import is_loopback
from pipeline.store.files.open_files import read_url
from pipeline.text import size_for_people

TIMEOUT_S = 30.0
MAX_REDIRECTS = 5
MAX_BYTES = 4 * 1024 * 1024


class SettingsSource:
    """Loads the settings, at the start of a service and at each reload.

    address: a path, or a URL: https://…, http://… of this machine, or s3://bucket/key. Relative paths in settings that come from a URL
    start from the current folder. port: used instead of the setting heartbeat.port.
    """

    def __init__(self, address: str, *, port: int | None = None) -> None:
        self.url = address if "://" in address else None
        self.file = Path(_local_name(address) if self.url else address)
        self._port = port

    def load(self) -> Settings:
        """Fetch and load the settings. Raises SettingsError, and UsageError if the URL cannot be read."""
        self.fetch()
        settings = load(self.file)
        if self._port is None:
            return settings
        return settings.model_copy(update={"heartbeat": settings.heartbeat.model_copy(update={"port": self._port})})

    def fetch(self) -> bool:
        """If the settings come from a URL, copy them to the file. Return whether the file has changed. Raises UsageError."""
        if self.url is None:
            return False
        content = _from_object_store(self.url) if self.url.startswith("s3://") else _from_web(self.url)
        if len(content) > MAX_BYTES:
            raise _unreadable(self.url, f"the settings are larger than {size_for_people(MAX_BYTES)}")
        if self.file.exists() and self.file.read_bytes() == content:
            return False
        replace_file(self.file, content)
        return True


def _local_name(url: str) -> str:
    """Return the name of the file to which a URL is copied. Raises UsageError if it is not a URL."""
    try:
        return f"{PurePosixPath(urlsplit(url).path).stem or 'settings'}.from-url.toml"
    except ValueError as error:
        raise UsageError(f"this is not a URL: {error}", where="--settings") from error


def _from_web(url: str) -> bytes:
    import requests  # noqa: PLC0415  most services read a file
    address = url
    try:
        for _ in range(MAX_REDIRECTS + 1):
            _refuse_unprotected(url, address)
            with requests.get(address, timeout=TIMEOUT_S, stream=True, allow_redirects=False) as response:
                response.raise_for_status()
                if response.next is None:
                    return b"".join(_bounded(response.iter_content(65_536)))
                address = response.next.url or ""
    except requests.RequestException as error:
        answer = f"the web server answers {error.response.status_code}" if error.response is not None else f"the request failed ({type(error).__name__})"
        raise _unreadable(url, answer) from error
    raise _unreadable(url, f"the web server redirects more than {MAX_REDIRECTS} times")


def _refuse_unprotected(url: str, address: str) -> None:
    """Raise UsageError if others could change the settings on their way. address: the URL, or one to which it redirects."""
    parts = urlsplit(address)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        return
    what = "" if address == url else f"the web server redirects to {_without_credentials(address)}, and "
    raise _unreadable(url, f"{what}settings are read only from https://… and s3://… , and from http://… of this machine",
                      "use https, because whoever changes the settings on their way decides what this machine runs")


def _bounded(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the chunks up to the first one that exceeds MAX_BYTES."""
    size = 0
    for chunk in chunks:
        yield chunk
        size += len(chunk)
        if size > MAX_BYTES:
            return


def _from_object_store(url: str) -> bytes:
    """Read an object with the credentials and the endpoint of the AWS_* variables."""
    try:
        return read_url(url)
    except StoreError as error:
        raise _unreadable(url, str(error)) from error


def _unreadable(url: str, why: str, fix: str = "check the URL, or use a file") -> UsageError:
    return UsageError(f"the settings cannot be read: {why}", where=_without_credentials(url), fix=fix)


def _without_credentials(url: str) -> str:
    """Return the URL without user information and query, which may contain secrets."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
