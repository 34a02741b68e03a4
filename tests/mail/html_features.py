"""The HTML and CSS features that mails may use, and which of them a page uses.

Names are those of Can I email.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import lxml.html

_EXTRA = "only makes better what reads without it"
REASONS = {
    "css-at-media": "without it phones see wider margins and everybody the light colours",
    "css-at-media-prefers-color-scheme": "the light colours are complete, and a client that darkens by itself may",
    "css-background-color": "some know named colours only: the card is white on white, and reads",
    "css-border": "Outlook on Windows: unreliable on blocks; the lines between items may be missing",
    "css-display": "partly: without flex and grid; a chart is a block, and else stands on a line of its own all the same",
    "css-float": "Outlook on Windows: the price of an item of a long list stands before its title",
    "css-font-size": "partly: without rem or per cent; ours are px",
    "css-font-weight": "partly: 600 is bold, or one of the hundreds; ours are hundreds",
    "css-height": "of charts, which have it as an attribute, too",
    "css-important": "only in the rules for dark and phones, which these clients leave out whole",
    "css-line-height": "Outlook on Windows wants mso-line-height-rule: exactly, and gets it",
    "css-margin": "partly: without negative ones and auto; we have neither",
    "css-max-height": "of the hidden preheader: display does the same where it is known",
    "css-max-width": "Outlook on Windows knows it on tables, and the card is one; phones that do not are narrower than it",
    "css-overflow": "of a scraped table that is wider than the screen: without it the card gets wider",
    "css-overflow-wrap": "word-break does the same where it is known; elsewhere a very long word widens the card",
    "css-padding": "Outlook on Windows: in cells only; the card and the box have theirs in cells, items stand closer",
    "css-table-layout": "of the table around scraped HTML: without it a wide scraped table widens the card",
    "css-padding-left": "see padding; the side at which lines start is the right one in Arabic and Hebrew",
    "css-padding-right": "see padding-left",
    "css-text-align": "partly: without start and end; ours are left",
    "css-text-decoration": "a removed text is red, an added one green, a link blue in any case; partly: its colour and style",
    "css-white-space": "of a log's lines and of scraped pre: they are one paragraph",
    "css-width": "Outlook on Windows: not of blocks and pictures; charts have it as an attribute",
    "css-word-break": "see overflow-wrap",
    "html-align": "partly: of pictures, or left and right; ours is the centre of a cell",
    "html-anchor-links": "from a sentence of a summary to its items; partly: to an empty anchor with a name, and ours are; elsewhere the item is found by its number",
    "html-bdi": "isolates a value that is read from right to left; " + _EXTRA,
    "html-body": "replaced by an element of the client's own: the table around the card has the colours, too",
    "html-code": "of a command: without it the command has the font of the text",
    "html-dir": "auto, ltr and rtl, " + _EXTRA,
    "html-lang": _EXTRA,
    "html-meta-color-scheme": _EXTRA,
    "html-style": "all but the rules for dark and phones is inline",
}
"""Features that some client does not support: what such a client shows, or why it does not matter."""
JUDGED = frozenset(REASONS) | {
    "css-border-bottom", "css-border-bottom-color", "css-border-left", "css-border-left-color", "css-color",
    "css-font-family", "css-mso-hide", "css-mso-line-height-rule", "css-unit-px", "css-vertical-align", "html-a", "html-aria-role", "html-b", "html-del",
    "html-div", "html-em", "html-h1", "html-h2", "html-h3", "html-head", "html-html", "html-img", "html-ins", "html-li",
    "html-meta", "html-ol", "html-p", "html-pre", "html-span", "html-strong", "html-table", "html-tbody", "html-td", "html-th",
    "html-title", "html-tr", "html-ul",
}
"""Every feature that the mails may use. Add a new one after examining it with `python -m benchmarks.mail_lint`."""
_PROPERTY = re.compile(r"(?:^|[;{\s])([a-z-]+)\s*:")


def features_of(pages: Iterable[str]) -> set[str]:
    """The names that Can I email gives to the elements, CSS properties and at-rules of the pages."""
    found = set()
    for page in pages:
        document = lxml.html.document_fromstring(page)
        found |= {f"html-{element.tag}" for element in document.iter() if isinstance(element.tag, str)}
        found |= {"html-anchor-links"} if document.xpath("//a[starts-with(@href, '#')]") else set()
        found |= {"html-dir"} if document.xpath("//@dir") else set()
        found |= {"html-lang"} if document.xpath("//@lang") else set()
        found |= {"html-aria-role"} if document.xpath("//@role") else set()
        found |= {"html-align"} if document.xpath("//@align") else set()
        found |= {"html-meta-color-scheme"} if document.xpath("//meta[@name='color-scheme']") else set()
        sheets = document.xpath("//style/text()")
        for style in (*document.xpath("//@style"), *sheets):
            found |= {f"css-{name}" for name in _PROPERTY.findall(style)}
        for sheet in sheets:
            if "@media" in sheet:
                found |= {"css-at-media", "html-style"}
            if "prefers-color-scheme" in sheet:
                found.add("css-at-media-prefers-color-scheme")
            if "!important" in sheet:
                found.add("css-important")
        found |= {"css-unit-px"} if "px" in page else set()
    return found
