"""Make safe file names from a spider's name, a Content-Disposition header or a URL.

A name is safe on Linux, macOS and Windows. It is a single path component, not empty, at most 150 bytes of UTF-8, and not the name
of a device. It has no separators, leading dots, trailing dots or spaces, and no control, bidirectional or other invisible
characters. A name that is too long is shortened but keeps its extension.
"""

from __future__ import annotations

import mimetypes
import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

MAX_BYTES = 150
"""The maximum length of a name, in bytes. File systems allow 255 bytes, but a suffix such as " (2)" and, on Windows, the path of
the folder need space too.
"""
_FALLBACK = "download"
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,10}")
_DOUBLE = re.compile(r"\.tar\.[A-Za-z0-9]{1,5}$", re.IGNORECASE)
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|clock\$|com[0-9¹²³]|lpt[0-9¹²³])(?=\.|$)", re.IGNORECASE)
# The extensions of media types for which Python's module mimetypes has an unusual extension or none.
_EXTENSIONS = {
    "application/gzip": ".gz", "application/x-gzip": ".gz", "application/json": ".json",
    "application/octet-stream": "", "application/vnd.ms-excel": ".xls", "application/xml": ".xml",
    "application/zip": ".zip", "application/x-zip-compressed": ".zip", "audio/mpeg": ".mp3", "image/jpeg": ".jpg",
    "image/webp": ".webp", "text/csv": ".csv", "text/html": ".html", "text/plain": ".txt", "text/xml": ".xml",
    "video/mp4": ".mp4",
}


def choose(*, preferred: str, disposition: str, url: str, content_type: str) -> str:
    """Return a safe file name.

    The name is the first of these that is not empty: `preferred`, the name in the Content-Disposition header, the name in the
    URL, "download". A name without an extension gets the usual extension of the content type.
    """
    from pipeline.download.response.content_disposition import file_name  # noqa: PLC0415  deleting files does not need this module
    for candidate in (preferred, file_name(disposition), from_url(url)):
        name = safe(candidate)
        if name:
            break
    else:
        name = _FALLBACK
    if not split(name)[1]:
        name = safe(name + extension_for(content_type)) or _FALLBACK
    return name


def from_url(url: str) -> str:
    """Return the last segment of a URL's path, percent-decoded."""
    try:
        path = urlsplit(url).path
    except ValueError:
        return ""
    return unquote(path.rstrip("/").rpartition("/")[2])


def extension_for(content_type: str) -> str:
    """Return the usual extension of a Content-Type, such as ".pdf"; "" if there is none."""
    kind = media_type(content_type)
    if kind in _EXTENSIONS:
        return _EXTENSIONS[kind]
    return mimetypes.guess_extension(kind, strict=True) or ""


def media_type(header: str) -> str:
    """Return the media type in a Content-Type header, such as "text/csv" (RFC 9110, 8.3); "" if invalid."""
    found = re.match(r"\s*([\w!#$&^.+-]{1,63}/[\w!#$&^.+-]{1,63})\s*(?:;|$)", header, re.ASCII)
    return found[1].lower() if found else ""


def safe(text: str) -> str:
    """Return a safe path component made from any text; "" if no safe character is left."""
    if not text:
        return ""
    from pathvalidate import sanitize_filename  # noqa: PLC0415  4 ms of a start: the service itself names no files
    name = unicodedata.normalize("NFC", text[:4096].replace("\\", "/")).rstrip("/").rpartition("/")[2]
    # Cc: control characters, Cf: invisible and bidirectional marks, Cs: lone surrogates, Co: private use, Cn: unassigned, Zl, Zp:
    # line and paragraph separators.
    name = "".join(
        character for character in name
        if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
    name = _cut(re.sub(r"\s+", " ", name), MAX_BYTES)
    name = _trimmed(sanitize_filename(name, replacement_text="_", platform="universal"))
    if _DEVICES.match(name):
        name = f"_{name}"
    if not name.strip("_ "):
        return ""
    return _cut(name, MAX_BYTES)


def _trimmed(name: str) -> str:
    """Remove leading dots (hidden files) and dashes (options), and trailing dots (removed by Windows)."""
    return name.lstrip(" .-~").rstrip(" .")


def numbered(name: str) -> Iterator[str]:
    """Yield `a.pdf`, `a (2).pdf`, `a (3).pdf` and so on, without end."""
    yield name
    stem, extension = split(name)
    number = 2
    while True:
        tail = f" ({number}){extension}"
        yield _cut_bytes(stem, MAX_BYTES - len(tail.encode())) + tail
        number += 1


def split(name: str) -> tuple[str, str]:
    """Return stem and extension ("" for none).

    The extension includes the dot, and may be double (".tar.gz").
    """
    double = _DOUBLE.search(name)
    if double and double.start():
        return name[:double.start()], double[0]
    stem, dot, last = name.rpartition(".")
    extension = dot + last
    return (stem, extension) if stem and _EXTENSION.fullmatch(extension) else (name, "")


def _cut(name: str, limit: int) -> str:
    if len(name.encode()) <= limit:
        return name
    stem, extension = split(name)
    return _trimmed(_cut_bytes(stem, limit - len(extension.encode())) + extension)


def _cut_bytes(text: str, limit: int) -> str:
    """Return the beginning of a text that takes at most `limit` bytes in UTF-8. No character is cut."""
    return text.encode()[:limit].decode("utf-8", "ignore").rstrip(" .")
