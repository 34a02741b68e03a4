"""Build the report of `pipeline try`: what each rule of a spider matches on one page."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import scrapy
from scrapy.http import Response
from scrapy.responsetypes import responsetypes

from pipeline.crawl.browser.screenshot import Picture
from pipeline.crawl.built_in import BuiltInSpider
from pipeline.crawl.extract import CompiledRule, Document, ItemRules, LinkRules, RuleFailedError
from pipeline.crawl.extract.items import all_rules
from pipeline.crawl.extract.links import left_out_note
from pipeline.crawl.extract.values import converter
from pipeline.documents.scripted_pages import script_message
from pipeline.documents.selectors import Kind, Scope, finder, kind_for, parts, root
from pipeline.errors import PipelineError
from pipeline.model import Json
from pipeline.session import UNCHECKABLE, Session
from pipeline.session.page import Page
from pipeline.settings import FieldTable, ItemsTable, SelectorTable, SpiderTable
from pipeline.text import size_for_people

SHOWN = 5
_LENGTH = 120


def try_spider(table: SpiderTable, document: Document, body: bytes, spidercls: type[BuiltInSpider], *, is_rendered: bool = False) -> dict[str, Json]:
    """Return a report with the first matches of each rule on a page, and the items and links of the page.

    body: the undecoded body of the page, which the spiders `feed` and `sitemap` parse themselves. Raise SpiderError if the spider
    is `feed` or `sitemap` and the page is not a feed or a sitemap.
    """
    found: dict[str, Json] = {"url": document.url, "status": document.status, "characters": len(document.text),
                              "rules": [], "links": [], "items": [], "rejected": []}
    found["rules"] += [_report(*tried) for tried in spidercls.own_rules(table, document)]
    if spidercls.uses_item_rules(table):
        _add_item_rules(table, document, found)
    else:
        _add_yield(table, document, body, spidercls, found)
    found["obstacle"] = "" if found["items"] else script_message(document, is_rendered=is_rendered)
    return found


def _add_item_rules(table: SpiderTable, document: Document, found: dict[str, Json]) -> None:
    """Add the matches of the rules that the spider `crawl` applies, and the links and items, to the report `found`."""
    rules = found["rules"]
    rules += [*_links("follow", table.follow, document), *_links("download", table.download, document)]
    if table.follow:
        followed = LinkRules.to_follow(table)
        found["links"] = _followed(followed, document)
        found["left_out"] = left_out_note(followed.left_out())
    if table.pages is not None and table.pages.cursor is not None:
        cursor = table.pages.cursor
        rules.append(_report("pages.cursor", cursor, lambda: CompiledRule(cursor).values(document)))
    if table.items is not None:
        rules += _fields("items", table.items.fields, table.items.each, document)
        if table.items.details is not None:
            # The page may be a listing page or a details page, so the rules for both are shown.
            rules += _fields("items.details", table.items.details.fields, None, document)
        _add_items(table.items, document, found)


def session_note(session: Session, page: Page) -> str:
    """Return a warning if a page shows that the login has expired; "" if not, or if the spider has no login."""
    login_state = session.login_state
    if login_state is None:
        return ""
    status = page.answer.status
    try:
        if session.checkable and not login_state.verify(login_state.epoch, time.monotonic()):
            return ("login.check no longer matches after this page was fetched: the session has expired, and this may be the page for "
                    "anonymous visitors; check whether this page logs out")
        reason = login_state.expiry.of_page(page)
    except PipelineError as error:
        return f"the session could not be checked: {error}"
    if reason:
        return f"this page {reason}, so login.expired treats the session as expired, although login.check matches"
    if status in (401, 403):
        return f"the session is valid, but the site refused this page (status {status}); check whether this account may see the page"
    if page.document.lexbor.css_first("input[type=password i]") is not None:
        return "this page asks for a password, although the session is valid: it may be a login page, which login.expired.present can detect"
    return "" if session.checkable else UNCHECKABLE


def _add_yield(table: SpiderTable, document: Document, body: bytes, spidercls: type[BuiltInSpider], found: dict[str, Json]) -> None:
    """Call parse() of a spider that does not use item rules, and add the resulting items and links to the report `found`."""
    response = scrapy_response(document, body)
    for page in spidercls(**spidercls.arguments(table)).parse(response):
        found["items"] += page.items
        found["links"] += [link.url for link in page.links]
        found["rejected"] += [{"reason": rejected.reason, "data": rejected.data} for rejected in page.rejected]


def picture_line(picture: Picture | None) -> str:
    """Return what `pipeline try` says about the picture of a page."""
    if picture is None:
        return "none, because the page is no HTML page that is rendered"
    if picture.problem:
        return f"none that can be compared: {picture.problem}"
    cut = " (only the first part of the page)" if picture.cut else ""
    return f"{picture.width} x {picture.height} pixels, {size_for_people(len(picture.png))}{cut}"


def scrapy_response(document: Document, body: bytes) -> Response:
    """Return a document as a response of Scrapy. body: the undecoded body of the page."""
    made: type[Response] = responsetypes.from_args(
        headers={b"Content-Type": document.headers.get("content-type", "").encode()}, url=document.url, body=body)
    options: dict[str, Any] = {"headers": dict(document.headers)}
    if issubclass(made, scrapy.http.TextResponse):
        body, options["encoding"] = document.text.encode("utf-8", "replace"), "utf-8"
    return made(document.url, status=document.status, body=body, request=scrapy.Request(document.url), **options)


def _followed(rules: LinkRules, document: Document) -> list[str]:
    """Return the links that pass `allow`, `deny` and `hosts`; [] if a rule fails."""
    try:
        return rules.links(document)
    except RuleFailedError:  # the report shows this error at the rule itself
        return []


def _add_items(table: ItemsTable, document: Document, found: dict[str, Json]) -> None:
    extracted = ItemRules(table.fields, table.each, table.details.link if table.details else None).extract(document)
    found["items"] = extracted.items
    found["rejected"] = [{"reason": rejected.reason, "data": rejected.data} for rejected in extracted.rejected]
    if table.details is not None:
        link = table.details.link
        found["rules"].append(_report("items.details.link", link, lambda: [url for url in extracted.links if url]))


def _links(name: str, rules: tuple[SelectorTable, ...], document: Document) -> list[dict[str, Json]]:
    return [_report(f"{name}[{place}]", rule, lambda rule=rule: LinkRules([rule]).links(document))
            for place, rule in enumerate(rules)]


def _fields(name: str, fields: Mapping[str, FieldTable], each: SelectorTable | None,
            document: Document) -> Iterator[dict[str, Json]]:
    outer = kind_for(all_rules(fields, each))
    yield from _group(name, fields, each, scopes=[root(document, outer)], kind=outer, document=document)


def _group(name: str, fields: Mapping[str, FieldTable], each: SelectorTable | None, *, scopes: Sequence[Scope],
           kind: Kind, document: Document) -> Iterator[dict[str, Json]]:
    """Yield a report for each rule of a group of fields, and of its nested groups.

    scopes: the parts of the page that the rules are applied to.
    """
    if each is not None:
        inner: list[Scope] = []
        kind, find = parts(each, kind)

        def matches() -> list[Scope]:
            inner.extend(match for scope in scopes for match in find(scope, document))
            return inner

        yield _report(f"{name}.each", each, matches, shown=0)
        scopes = inner
    for field, rule in fields.items():
        if rule.fields:
            yield from _group(f"{name}.fields.{field}", rule.fields, rule.each, scopes=scopes, kind=kind, document=document)
        else:
            yield _report(f"{name}.fields.{field}", rule, lambda rule=rule: [
                converter(rule)(value, document) for scope in scopes for value in finder(rule, kind)(scope, document)])


def _report(name: str, rule: SelectorTable | str, values: Any, *, shown: int = SHOWN) -> dict[str, Json]:
    try:
        found, error = values(), ""
    except RuleFailedError as reason:
        found, error = [], str(reason)
    return {"name": name, "rule": rule if isinstance(rule, str) else _written(rule), "count": len(found), "error": error,
            "first": [_short(value) for value in found[:shown]]}


def _written(rule: SelectorTable) -> str:
    given = {name.rstrip("_"): getattr(rule, name) for name in sorted(rule.model_fields_set)}
    if set(given) <= {"css"} or set(given) <= {"xpath"}:
        return str(next(iter(given.values()), ""))
    return ", ".join(f"{name} = {value!r}" for name, value in given.items())


def _short(value: Json) -> str:
    text = repr(value)
    return text if len(text) <= _LENGTH else text[:_LENGTH - 1] + "…"
