"""Sanitize scraped HTML for a mail: keep text, lists, tables and links; remove everything else."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import nh3
from markupsafe import Markup

from pipeline.display.field_text import safe_link
from pipeline.text import clean_line, clean_text
from pipeline.urls import joined

MAX_SOURCE = 64_000
"""Maximum number of characters of a field's HTML that are used. The rest of a longer field is ignored."""
TEXT_LIMIT = 1200
_MARKUP_LIMIT = 4000
# Not allowed: del and ins, because the mail itself marks changes with them. An img is replaced by its alternative text, because mail clients
# would load the picture.
_TAGS = {"a", "b", "blockquote", "br", "caption", "code", "dd", "div", "dl", "dt", "em", "h1", "h2", "h3", "h4", "h5", "h6",
         "i", "li", "ol", "p", "pre", "s", "small", "strong", "sub", "sup", "table", "tbody", "td", "tfoot", "th", "thead",
         "tr", "u", "ul"}
_UNSEEN = {"script", "style", "template", "title", "textarea", "select", "svg", "math", "noscript", "iframe", "object"}
_IMAGE = re.compile(r"<img(?: alt=\"([^\"]*)\")?>")
_HEADING = re.compile(r"<(/?)h[1-6]>")
_TOKEN = re.compile(r"<[^>]*>|[^<]+")
_BREAK = re.compile(r"<(?:br|/?(?:p|div|li|tr|h[1-6]|dt|dd|pre|blockquote|table|ul|ol|caption))>")
_CELL = re.compile(r"</t[dh]><t[dh]>")


def sanitised(source: str, *, base: str = "", limit: int = TEXT_LIMIT) -> Markup:
    """Return `source` as a safe HTML fragment with at most `limit` characters of text.

    base: URL against which relative links are resolved; "" removes relative links.
    """
    cleaned = _HEADING.sub(lambda found: "</b></p>" if found[1] else "<p><b>", _cleaned(source, base))
    cut = "".join(_cut(cleaned, limit))
    return Markup(cut if len(cut) == len(cleaned) else _cleaned(cut, base))  # noqa: S704  this is what makes it safe


def plain(source: str) -> str:
    """Return the text that a browser would show for the HTML `source`, with a line for each block element."""
    text = _CELL.sub(" · ", _BREAK.sub("\n", re.sub(r">\s+<", "><", _cleaned(source, ""))))
    text = html.unescape(_TOKEN.sub(lambda token: "" if token[0].startswith("<") else token[0], text))
    return "\n".join(line for line in map(clean_line, text.split("\n")) if line)


def _cleaned(source: str, base: str) -> str:
    def attribute(tag: str, name: str, value: str) -> str | None:
        # nh3 is based on ammonia, which also allows the attributes `title` and `lang` on every element: remove both.
        if name == "href":
            return safe_link(joined(value, base)) or None
        return value if (tag, name) == ("img", "alt") else None

    cleaned = nh3.clean(
        clean_text(source[:MAX_SOURCE]), tags={*_TAGS, "img"}, clean_content_tags=_UNSEEN, attributes={"a": {"href"}, "img": {"alt"}},
        attribute_filter=attribute, url_schemes={"http", "https"}, link_rel=None)
    return clean_text(_IMAGE.sub(_alternative, cleaned))


def _alternative(image: re.Match[str]) -> str:
    """Return the alternative text of an image as HTML: "[text]", or "" if there is none."""
    text = clean_line(html.unescape(image[1] or ""), 200)
    return f"[{html.escape(text)}]" if text else ""


def _cut(cleaned: str, limit: int) -> Iterator[str]:
    """Yield the tags and texts of sanitized HTML until the texts have `limit` characters together.

    Some elements may lack their end tags; the caller sanitizes the result again, which adds the end tags.
    """
    markup = text = 0
    for match in _TOKEN.finditer(cleaned):
        token = match[0]
        if token.startswith("<"):
            markup += len(token)
        elif len(token) > limit - text:
            yield re.sub(r"&[^;]*$", "", token[:limit - text]) + "…"
            return
        else:
            text += len(token)
        if markup > _MARKUP_LIMIT:
            yield "…"
            return
        yield token
