"""A proposal of new rules as lines of text, for the command, alerts and the spider's page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pipeline.text import escape_line


def lines(report: dict[str, Any]) -> Iterator[str]:
    """Yield a proposal as lines: the diff of the settings file, and items before and after. Nothing is yielded if there is no proposal.

    report: see pipeline.workers.pages.mend.perform. Control characters are escaped.
    """
    if not report.get("diff"):
        return
    yield from map(escape_line, report["diff"].splitlines())
    yield ""
    for before, after in zip(report["before"], report["after"], strict=True):
        yield escape_line(f"before: {json.dumps(before, ensure_ascii=False)}")
        yield escape_line(f"after:  {json.dumps(after, ensure_ascii=False)}")
    yield from map(escape_line, report["notes"])
