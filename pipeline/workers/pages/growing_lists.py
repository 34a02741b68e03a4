"""Find out whether the lists of a rendered page get more rows when the page is scrolled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.crawl.suggest import Proposal
from pipeline.crawl.suggest.selectors import matches
from pipeline.documents.document import Document
from pipeline.errors import PipelineError
from pipeline.settings import RenderTable
from pipeline.text import counted
from pipeline.workers.pages.fetch import PageFetcher

_LOOK = ({"press": "End"}, {"wait": "1s"})
"""One page of further rows is enough to know, and a page without end is not scrolled to its end."""


def css_of(proposal: Proposal) -> str:
    """Return the CSS selector of the rows of a proposal; "" if it has none."""
    each = proposal.table.get("items", {}).get("each")
    return each if isinstance(each, str) and not each.startswith(("/", "(", "./")) else ""


def growing(proposals: Sequence[Proposal], pages: PageFetcher, url: str) -> list[str]:
    """Return the CSS selectors of those proposals whose rows become more when the page is scrolled, and say so in their notes.

    The page is rendered once more. url: of the page, as a run requests it.
    """
    lists = [proposal for proposal in proposals if proposal.kind == "html" and css_of(proposal) and proposal.count]
    if not lists:
        return []
    table: Any = {"wait_for": ["networkidle"], "steps": _LOOK}
    try:
        found = pages.rendered.get(url, RenderTable.model_validate(table))
    except PipelineError:  # the proposals are as good as before
        return []
    if found is None:
        return []
    answer = found[0]
    page = Document(url=answer.url, status=answer.status, text=answer.body.decode("utf-8", "replace"), headers=dict, is_rendered=True)
    grown = []
    for proposal in lists:
        count = len(matches(page.lexbor, css_of(proposal)))
        if count > proposal.count:
            proposal.notes.append(f"the list grows from {counted(proposal.count, 'row')} to {count:,} when the page is scrolled: the step scrolls to its end; "
                                  "remove it if the list has no end")
            grown.append(css_of(proposal))
    return grown
