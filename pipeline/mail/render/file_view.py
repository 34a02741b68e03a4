"""Prepare the downloaded and attached files of a digest for its templates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit, urlunsplit

from pipeline.display.field_text import safe_link
from pipeline.display.file_types import file_type
from pipeline.languages import Wording, figures
from pipeline.mail.message.attachments import Packed
from pipeline.mail.summary import DigestSummary
from pipeline.model import StoredFile
from pipeline.store.files import page_files
from pipeline.text import clean_line, has_secret_parameter
from pipeline.urls import route_of

_LONGEST_URL = 80


@dataclass(frozen=True)
class FileView:
    """A downloaded or attached file.

    detail: text with the type and the size of the file, whether it is attached and, if it is not, where it is. link: URL from which the
    file was downloaded; "" if the URL contains a secret. stored: URL of the stored file on the heartbeat's pages; "" if there is none or
    the file is attached. source, source_link: text and URL of the page on which the file was found; "" if it is unknown.
    """

    name: str
    detail: str
    link: str = ""
    stored: str = ""
    source: str = ""
    source_link: str = ""


@dataclass(frozen=True)
class FileLinks:
    """Makes the links of files in a mail.

    stored: returns the URL of a stored file on the heartbeat's pages by the file's key, or "". mask: masks the secrets of the settings.
    """

    stored: Callable[[str], str] = lambda key: ""
    mask: Callable[[str], str] = lambda text: text

    def public(self, url: str) -> str:
        """Return the URL without credentials, and without a fragment that is no route; "" if it contains a secret, or if a mail may not link to it.

        A file that the browser has made of a page has the URL of the page.
        """
        url = page_files.page_of(url)
        try:
            parts = urlsplit(url)
            bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, route_of(url)[1:]))
        except ValueError:
            return ""
        return "" if has_secret_parameter(bare) or self.mask(bare) != bare else safe_link(bare)


def downloads(summary: DigestSummary, packed: Packed, words: Wording, links: FileLinks, most: int) -> list[FileView]:
    """Return the first `most` downloaded files. If there are more, a last entry says how many more.

    Of several versions of a file, only the newest is an entry, with the number of the others.
    """
    versions: dict[tuple[str, str], list[StoredFile]] = {}
    for file in sorted(summary.files, key=lambda file: (file.fetched_at, file.id)):
        versions.setdefault((file.spider, file.url), []).append(file)
    newest = {found[-1].id: len(found) - 1 for found in versions.values()}
    shown = [file for file in summary.files if file.id in newest]
    views = [_download(file, packed, words, links, older=newest[file.id]) for file in shown[:most]]
    left = len(shown) - len(views)
    return [*views, FileView(words.more.format(n=left), "")] if left else views


def _download(file: StoredFile, packed: Packed, words: Wording, links: FileLinks, *, older: int) -> FileView:
    """Return a downloaded file under the name that it has as an attachment, if it is attached. older: the number of its older versions."""
    number, attached = packed.attached_files.get(file.id, (0, None))
    name, size_bytes = (attached.name, attached.size_bytes) if attached else (clean_line(file.name, 120), file.size_bytes)
    parts = [file_type(name, file.content_type, words), figures.size(size_bytes, words.lang)]
    total = 1 + len(packed.further)
    stored = ""
    if number:
        parts.append(words.attached if total == 1 else words.in_part.format(n=number, total=total))
    elif file.id in packed.missing:
        parts.append(words.missing)
    else:
        stored = links.stored(file.key)
        parts += [words.program if file.id in packed.programs else "", _no_room(packed, words) if file.id in packed.no_room else "",
                  "" if stored else words.kept_at.format(key=clean_line(file.key, 160))]
    if older:
        parts.append(words.older_versions.format(n=older))
    page = links.public(file.referer)
    return FileView(name, _joined(parts), links.public(file.url), stored, _short(page), page)


def attachments(packed: Packed, words: Wording, links: FileLinks) -> list[FileView]:
    """Return the attached tables and saved pages, followed by those that were too large to attach."""
    views = [FileView(found.name, _joined([file_type(found.name, found.content_type, words), figures.size(found.size_bytes, words.lang)]))
             for found in (*packed.tables, *packed.pages)]
    for left in packed.left_out:
        stored = links.stored(left.key) if left.key else ""
        views.append(FileView(left.name, _joined([
            file_type(left.name, "", words), figures.size(left.size_bytes, words.lang), _no_room(packed, words),
            words.kept_at.format(key=left.key) if left.key and not stored else ""]), stored=stored))
    if packed.older:
        views.append(FileView(words.older_left_out.format(n=len(packed.older)), ""))
    if packed.rows_left_out:
        views.append(FileView(words.rows_left_out.format(n=packed.rows_left_out), ""))
    return views


def _no_room(packed: Packed, words: Wording) -> str:
    return words.too_large if packed.limit_bytes else words.not_attached


def _short(url: str) -> str:
    """Return the text of a link: a URL without its scheme, shortened."""
    return clean_line(unquote(url.partition("://")[2]).rstrip("/"), _LONGEST_URL)


def _joined(parts: Iterable[str]) -> str:
    return " · ".join(part for part in parts if part)
