"""Feed lists of feed readers: OPML 1.0 and 2.0."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.cli.imports.imported import Imported, ImportFormat
from pipeline.cli.imports.source_files import read_file
from pipeline.cli.imports.translation.requests import SpiderRequest, unusable_url
from pipeline.errors import UsageError
from pipeline.text import clean_line, shown_url

_MAX_DEPTH = 30
_LONGEST_TAG = 60


def read_opml(path: Path, config: Path | None, imported: Imported) -> None:
    """Add a feed spider for each outline with an xmlUrl. The folders of the outline are the spider's tags."""
    from lxml import etree  # type: ignore[import-untyped]

    parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False, recover=True, remove_comments=True, remove_pis=True)
    try:
        root = etree.fromstring(read_file(path), parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise UsageError(f"the file is not valid XML: {error}", where=str(path)) from error
    if root is None or _name(root) != "opml":
        raise UsageError("the file is not OPML: its first element is not <opml>", where=str(path))
    if parser.error_log:
        imported.note(f"the file is not valid XML (line {parser.error_log[0].line}), and was read as far as possible; compare the number of feeds")
    known: dict[str, str] = {}
    for number, (outline, folders) in enumerate(_outlines(root), 1):
        _add(imported, number, outline, folders, known)


def _outlines(root: Any) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Yield the attributes of each outline that is no folder, and the names of the folders around it, in the order of the file."""
    waiting = [(child, list[str]()) for body in root if _name(body) == "body" for child in reversed(body)]
    while waiting:
        element, folders = waiting.pop()
        if _name(element) != "outline":
            continue
        attributes = {name.lower(): value.strip() for name, value in element.attrib.items()}
        inner = [child for child in element if _name(child) == "outline"]
        if "xmlurl" in attributes or not inner:
            yield attributes, folders
        if inner and len(folders) < _MAX_DEPTH:
            title = attributes.get("text") or attributes.get("title") or ""
            waiting += [(child, [*folders, title] if title and "xmlurl" not in attributes else folders) for child in reversed(inner)]


def _name(element: Any) -> str:
    return element.tag.rpartition("}")[2].lower() if isinstance(element.tag, str) else ""


def _add(imported: Imported, number: int, outline: dict[str, str], folders: list[str], known: dict[str, str]) -> None:
    title = outline.get("title") or outline.get("text") or ""
    job = f"outline {number}" + (f" ({title})" if title else "")
    url = outline.get("xmlurl", "")
    if not url:
        imported.skip(job, "it has no xmlUrl, so it is no feed")
        return
    if url.lower().startswith("feed:"):
        url = url[5:].lstrip("/") if "://" in url[5:] else f"https:{url[5:]}"
    if why := unusable_url(url):
        imported.skip(job, why)
        return
    tags = list(dict.fromkeys(filter(None, (clean_line(each, _LONGEST_TAG) for each in (*folders, *_categories(outline.get("category", "")))))))
    if url in known:
        imported.skip(job, f"the feed {shown_url(url)} is in the file twice; see [spiders.{known[url]}]")
        return
    spider = imported.spider(title, outline.get("htmlurl") or url, job, {"spider": "feed"})
    known[url] = spider.name
    if tags:
        spider.table["tags"] = tags
    request = SpiderRequest(imported, spider, url)
    request.finish()


def _categories(text: str) -> list[str]:
    """Return the categories of an outline (OPML 2.0): slash-delimited paths and plain words, separated by commas."""
    return [part for each in text.split(",") for part in each.strip().split("/") if part.strip()]


OPML = ImportFormat(read_opml, "the feed list that a feed reader exports (OPML)")
