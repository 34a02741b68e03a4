"""The filters of urlwatch and webchanges, in their order, as the table `watch` of a spider."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.cli.imports.imported import Imported, ImportedSpider
from pipeline.cli.imports.translation.json_paths import jq_to_jmes
from pipeline.cli.imports.translation.page_rules import (
    css_part,
    drop_lines,
    grouped,
    keep_lines,
    regex_problem,
    selector_problem,
    xpath_part,
)

_NOT_NEEDED = frozenset(["html2text", "strip", "striplines", "beautify", "absolute_links", "pretty-xml", "format-xml"])
"""Filters that only change the form of a text that `watch` compares line by line, with white space collapsed."""
_DEFAULT_KEY = {"css": "selector", "xpath": "path", "grep": "re", "grepi": "re", "keep_lines_containing": "text", "delete_lines_containing": "text",
                "re.sub": "pattern", "re.findall": "pattern", "element-by-id": "id", "element-by-class": "class", "element-by-style": "style",
                "element-by-tag": "tag", "jq": "query"}
_LEFT_OUT = {
    "sort": "lines are compared in the order of the page",
    "reverse": "lines are compared in the order of the page",
    "remove-duplicate-lines": "repeated lines are compared, too",
    "remove_repeated": "repeated lines are compared, too",
    "shellpipe": "no program is run on a page; write a spider in Python",
    "execute": "no program is run on a page; write a spider in Python",
    "sha1sum": "the text itself is compared, so that the digest can show what changed",
    "sha256sum": "the text itself is compared, so that the digest can show what changed",
    "format-json": "JSON is compared as the site sends it",
    "jsontoyaml": "JSON is compared as the site sends it",
    "ocr": "text in pictures is not read; `watch.visual` compares pictures",
    "csv2text": "CSV is compared as the site sends it; `items` can read its rows with `data = \"csv\"`",
    "ical2text": "calendars are compared as the site sends them",
    "between": "lines between two lines cannot be chosen; choose an element with `watch.part`",
}
_ELEMENTS = frozenset(["css", "xpath", "element-by-id", "element-by-class", "element-by-style", "element-by-tag"])


class FilterChain:
    """The filters of one job. `finish` writes the table `watch`."""

    def __init__(self, spider: ImportedSpider) -> None:
        self._spider = spider
        self._part: Any = None
        self._css = ""
        self._without: list[str] = []
        self._ignore: list[str] = []
        self._is_text = False

    def add(self, filters: object, key: str) -> None:
        """Add the filters of a job: a list of names and tables, or the older text such as "css:h1,html2text"."""
        entries = list(_entries(filters))
        last_html = max((place for place, (kind, _) in enumerate(entries) if kind == "html2text"), default=-1)
        for place, (kind, value) in enumerate(entries):
            self._is_text = self._is_text or kind == "html2text"
            self._add(kind, value, f"{key}: {kind}", of_source=place < last_html)

    def _add(self, kind: str, value: Any, key: str, *, of_source: bool) -> None:
        default = _DEFAULT_KEY.get(kind)
        options = {str(name): inner for name, inner in value.items()} if isinstance(value, Mapping) else {default: value} if default and value is not None else {}
        if kind in _ELEMENTS:
            self._element(kind, options, key)
        elif kind in ("grep", "keep_lines_containing", "grepi", "delete_lines_containing", "re.sub", "re.findall"):
            if of_source:
                self._spider.leave_out(key, "it changes the HTML source before the text is taken; the text is compared")
            else:
                self._lines(kind, options, key)
        elif kind == "jq":
            self._json(options, key)
        elif kind in ("pdf2text", "pypdf"):
            self._spider.table["pdf"] = True
            if options.get("password"):
                self._spider.leave_out(f"{key}: password", "PDFs with a password cannot be read")
        elif kind not in _NOT_NEEDED:
            self._spider.leave_out(key, _LEFT_OUT.get(kind, "it has no counterpart"))

    def _element(self, kind: str, options: Mapping[str, Any], key: str) -> None:
        expression = str(options.get(_DEFAULT_KEY[kind]) or "").strip()
        if not expression:
            self._spider.leave_out(key, "it has no expression")
            return
        if kind == "element-by-tag":
            if expression.lower() in ("body", "html") and self._part is None:
                return
            css = expression
        elif kind.startswith("element-by-"):
            quoted = expression.replace("\\", "\\\\").replace('"', '\\"')
            css = f'[{kind.removeprefix("element-by-")}="{quoted}"]'
        else:
            css = expression if kind == "css" else ""
        for option in ("namespaces", "sort"):
            if options.get(option):
                self._spider.leave_out(f"{key}: {option}", "it has no counterpart")
        if excluded := options.get("exclude"):
            self._exclude(str(excluded), css, f"{key}: exclude")
        skip, most = (number if isinstance(number := options.get(name), int) and number > 0 else 0 for name in ("skip", "maxitems"))
        if self._part is not None:
            if not css or not self._css or "," in css + self._css:
                self._spider.leave_out(key, "it selects within the result of another filter; write one selector for `watch.part`")
                return
            css = f"{self._css} {css}"
        self._css = css if not skip and not most else ""
        try:
            self._part = css_part(css, skip=skip, most=most) if css else xpath_part(expression, skip=skip, most=most)
        except ValueError as error:
            self._spider.leave_out(key, str(error))

    def _exclude(self, expression: str, part: str, key: str) -> None:
        """Remove elements inside the selected ones."""
        inside = [f"{outer.strip()} {inner.strip()}" for outer in part.split(",") for inner in expression.split(",")]
        if not part or any(selector_problem(each) for each in inside):
            self._spider.leave_out(key, "elements that are left out have CSS selectors; write them as `watch.without`")
        else:
            self._without += inside

    def _json(self, options: Mapping[str, Any], key: str) -> None:
        path = jq_to_jmes(str(options.get("query") or ""))
        if path is None or self._part is not None:
            self._spider.leave_out(key, "only names, indexes and [] are translated; write the rule as `watch.part = { jmes = … }`")
        else:
            self._part, self._css = {"jmes": path}, ""

    def _lines(self, kind: str, options: Mapping[str, Any], key: str) -> None:
        text, pattern = options.get("text"), options.get("re", options.get("pattern"))
        if isinstance(text, str) and kind not in ("re.sub", "re.findall"):
            pattern = re.escape(text)
        if not isinstance(pattern, str) or not pattern:
            self._spider.leave_out(key, "it has no expression")
            return
        if problem := regex_problem(pattern):
            self._spider.leave_out(key, problem)
            return
        if kind in ("grep", "keep_lines_containing"):
            self._ignore.append(keep_lines(pattern))
        elif kind in ("grepi", "delete_lines_containing"):
            self._ignore.append(drop_lines(pattern))
        elif kind == "re.findall":
            self._ignore.append(keep_lines(pattern))
            self._spider.leave_out(key, "whole lines with a match are compared, not only the matches")
        else:
            self._substitute(pattern, str(options.get("repl") or ""), key)

    def _substitute(self, pattern: str, replacement: str, key: str) -> None:
        if re.search(r"\\n|\n|\(\?[a-z]*s", pattern):
            self._spider.leave_out(key, "expressions are applied to each line, and this one spans several")
            return
        if re.search(r"\\[0-9g]", replacement):
            self._spider.leave_out(key, "text can be removed, but not rearranged")
            return
        if replacement:
            self._spider.leave_out(key, "what matches is removed, not replaced by another text")
        self._ignore.append(grouped(pattern))

    def finish(self, imported: Imported) -> None:
        """Write the table `watch` of the spider."""
        watch = {name: value for name, value in (("part", self._part), ("without", self._without), ("ignore", self._ignore)) if value}
        if watch:
            self._spider.table["watch"] = watch
        if not self._is_text and not self._spider.table.get("pdf"):
            imported.note(f"{imported.kind} compares the HTML source of a page if a job has no filter html2text; here, the text of the page is compared")


def _entries(filters: object) -> Iterator[tuple[str, Any]]:
    """Yield the kind and the value of each filter."""
    if isinstance(filters, str):
        filters = [each.strip() for each in filters.split(",")]
        filters = [{kind: value} if colon else kind for kind, colon, value in (each.partition(":") for each in filters)]
    for each in filters if isinstance(filters, list) else [filters] if isinstance(filters, Mapping) else []:
        if isinstance(each, Mapping):
            yield from ((str(kind), value) for kind, value in each.items())
        elif isinstance(each, str):
            yield each, None
