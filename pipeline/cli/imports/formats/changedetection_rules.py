"""Convert filters and browser steps of changedetection.io to `watch`, `items` and `render`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.cli.imports.imported import ImportedSpider
from pipeline.cli.imports.translation.json_paths import jq_to_jmes, jsonpath_to_jmes
from pipeline.cli.imports.translation.page_rules import (
    css_to_xpath,
    drop_lines,
    keep_lines,
    regex_problem,
    selector_problem,
    xpath_part,
)
from pipeline.cli.imports.translation.requests import is_secret

_SLASHED = re.compile(r"/(.*?)/([a-z]*)", re.DOTALL)
PROCESSOR_FILES = ("restock_diff.json", "image_ssim_diff.json")
"""Files beside watch.json with the settings of a processor. They are in the watch under their name."""
_LEFT_OUT = {
    "trigger_text": "use `keywords` or `where` of a digest",
    "text_should_not_be_present": "use `where` of a digest, such as where = [\"text !~ sold out\"]",
    "conditions": "use `where` of a digest",
    "sort_text_alphabetically": "lines are compared in the order of the page",
    "remove_duplicate_lines": "repeated lines are compared, too",
    "check_unique_lines": "a page is compared with its last version only",
    "llm_prefilter": "no language model is asked",
}


def read_rules(watch: Mapping[str, Any], application: Mapping[str, Any], tags: list[Mapping[str, Any]], spider: ImportedSpider) -> None:
    """Write what a watch compares. tags: the groups of the watch, whose filters are added to its own."""
    processor = watch.get("processor")
    if processor == "restock_diff":
        _price(watch, spider)
        return
    table: dict[str, Any] = {}
    if part := _part(_texts(watch, tags, "include_filters"), spider):
        table["part"] = part
    ignore = [*_ignored(_texts(watch, tags, "ignore_text") + _lines(application.get("global_ignore_text")), spider), *_kept(watch, tags, spider)]
    if ignore:
        table["ignore"] = ignore
    _subtract(_texts(watch, tags, "subtractive_selectors") + _lines(application.get("global_subtractive_selectors")), table, spider)
    if processor == "image_ssim_diff":
        table["visual"] = _visual(watch.get("image_ssim_diff.json"), spider)
    elif processor not in (None, "", "text_json_diff"):
        spider.leave_out("processor", f"{processor} has no counterpart; the text of the page is compared")
    if table:
        spider.table["watch"] = table
    for key, why in _LEFT_OUT.items():
        if _texts(watch, tags, key) or watch.get(key):
            spider.leave_out(key, why)
    for key in ("filter_text_added", "filter_text_removed", "filter_text_replaced"):
        if watch.get(key) is False:
            spider.leave_out(key, "digests show added, removed and replaced lines")


def _texts(watch: Mapping[str, Any], tags: list[Mapping[str, Any]], key: str) -> list[str]:
    return [each for table in (watch, *tags) for each in _lines(table.get(key))]


def _lines(value: object) -> list[str]:
    return [each.strip() for each in value if isinstance(each, str) and each.strip()] if isinstance(value, list) else []


def _part(filters: list[str], spider: ImportedSpider) -> Any:
    """Return `part` for the selectors of a watch; all that match are compared. None if there are none."""
    css: list[str] = []
    xpath: list[str] = []
    json: list[str] = []
    for each in filters:
        kind, expression = _kind(each)
        if kind == "css":
            css.append(expression)
        elif kind == "xpath":
            xpath.append(expression)
        elif (path := (jsonpath_to_jmes if kind == "json" else jq_to_jmes)(expression)) is None:
            spider.leave_out("include_filters", f"{each}: only names, indexes and [*] are translated; write the rule as `watch.part = {{ jmes = … }}`")
        else:
            json.append(path)
    if json:
        if css or xpath:
            spider.leave_out("include_filters", "a page is read either as JSON or as HTML; the selectors of HTML are left out")
        return {"jmes": json[0] if len(json) == 1 else f"[{', '.join(json)}]"}
    if not xpath:
        return ", ".join(css) or None
    for selector in css:
        try:
            xpath.append(css_to_xpath(selector))
        except ValueError as error:
            spider.leave_out("include_filters", f"{selector}: {error}")
    return xpath_part(" | ".join(xpath))


def _kind(text: str) -> tuple[str, str]:
    """Return the kind of a selector (css, xpath, json or jq) and its expression."""
    for prefix, kind in (("xpath1:", "xpath"), ("xpath:", "xpath"), ("jqraw:", "jq"), ("jq:", "jq"), ("json:", "json"), ("css:", "css")):
        if text.startswith(prefix):
            return kind, text.removeprefix(prefix).strip()
    return ("xpath" if text.startswith("/") else "css"), text


def _pattern(text: str) -> str:
    """Return a text or a regular expression between slashes as a regular expression; upper and lower case are not distinguished."""
    match = _SLASHED.fullmatch(text)
    if match is None:
        return f"(?i){re.escape(text)}"
    flags = "".join(flag for flag in match[2] if flag in "imsx") if match[2] else "i"
    return f"(?{flags}){match[1]}" if flags else match[1]


def _ignored(texts: list[str], spider: ImportedSpider) -> Iterator[str]:
    for text in texts:
        if problem := regex_problem(_pattern(text)):
            spider.leave_out("ignore_text", f"{text}: {problem}")
        else:
            yield drop_lines(_pattern(text))


def _kept(watch: Mapping[str, Any], tags: list[Mapping[str, Any]], spider: ImportedSpider) -> Iterator[str]:
    """Yield the expressions that remove every line without one of the wanted texts."""
    for key in ("extract_text", "extract_lines_containing"):
        patterns = []
        for text in _texts(watch, tags, key):
            pattern = _pattern(text) if key == "extract_text" else f"(?i){re.escape(text)}"
            if problem := regex_problem(pattern):
                spider.leave_out(key, f"{text}: {problem}")
            else:
                patterns.append(pattern)
        if patterns and key == "extract_text":
            spider.leave_out(key, "whole lines with a match are compared, not only the matches")
        if patterns:
            yield keep_lines(patterns[0] if len(patterns) == 1 else "|".join(f"(?i:{each.removeprefix('(?i)')})" for each in patterns))


def _subtract(selectors: list[str], table: dict[str, Any], spider: ImportedSpider) -> None:
    for each in selectors:
        kind, expression = _kind(each)
        if kind == "css" and (problem := selector_problem(expression)):
            spider.leave_out("subtractive_selectors", problem)
        elif kind == "css":
            table.setdefault("without", []).append(expression)
        else:
            spider.leave_out("subtractive_selectors", f"{each}: elements that are left out have CSS selectors")


def _price(watch: Mapping[str, Any], spider: ImportedSpider) -> None:
    """Watch price and availability, which the page has as JSON-LD."""
    offer = "[?\"@type\"=='Product'].offers[]"
    spider.table["spider"] = "crawl"
    spider.table["items"] = {"key": ["url"], "fields": {
        "url": {"page": "url"}, "name": {"page": "title"},
        "price": {"data": "json-ld", "jmes": f"{offer} | [0]", "type": "price", "required": True},
        "availability": {"data": "json-ld", "jmes": f"{offer}.availability | [0]", "default": ""}}}
    spider.leave_out("processor", "price and availability are read from the JSON-LD of the page; if it has none, `pipeline suggest URL` proposes rules")
    for key, why in (("include_filters", "write a rule for the field `price`"),
                     ("subtractive_selectors", "write a rule for the field `price`")):
        if watch.get(key):
            spider.leave_out(key, why)
    config = watch.get("restock_diff.json")
    config = config.get("restock_diff") if isinstance(config, Mapping) else None
    restock = config if isinstance(config, Mapping) else watch.get("restock_settings")
    for key, value in restock.items() if isinstance(restock, Mapping) else ():
        if key == "price_change_threshold_percent" and isinstance(value, (int, float)) and value > 0:
            spider.table["items"]["min_change"] = {"price": f"{value:g}%"}
        elif key == "follow_price_changes" and value is False:
            spider.table["items"]["ignore"] = ["price"]
        elif value not in (None, "", False) and value not in (True, "in_stock_only"):
            spider.leave_out(f"restock_settings: {key}", "use `where` of a digest, such as where = [\"price < 100\"]")


def _visual(config: object, spider: ImportedSpider) -> Any:
    """Return `visual` for the settings of the processor that compares pictures."""
    spider.leave_out("processor", "colours are compared as people perceive them; see `threshold` of `watch.visual`")
    visual: dict[str, Any] = {}
    for key, value in config.items() if isinstance(config, Mapping) else ():
        if key == "min_change_percentage" and isinstance(value, (int, float)) and 0 <= value <= 100:
            visual["min_change"] = value / 100
        elif value not in (None, "") and key != "selection_mode":
            spider.leave_out(key, "`part` selects the element of which pictures are compared" if key == "bounding_box" else "it has no counterpart")
    return visual or True


def read_browser(watch: Mapping[str, Any], application: Mapping[str, Any], spider: ImportedSpider) -> None:
    """Write `render` if the watch is fetched with a browser."""
    backend = watch.get("fetch_backend") or "system"
    backend = str(application.get("fetch_backend") or "html_requests") if backend == "system" else str(backend)
    steps = list(_steps(watch.get("browser_steps"), spider))
    if backend in ("html_requests", "requests") and not steps:
        return
    table: dict[str, Any] = {}
    if backend.startswith("extra_browser_"):
        spider.leave_out("fetch_backend", "`remote` in [browser] names a browser on another machine")
    if steps:
        table["steps"] = steps
    delay = watch.get("webdriver_delay") or application.get("webdriver_delay")
    if isinstance(delay, int) and delay > 0:
        table["wait_for"] = [f"{delay}s"]
    spider.table["render"] = table or "browser"


def _steps(steps: object, spider: ImportedSpider) -> Iterator[dict[str, Any]]:
    for number, each in enumerate(steps if isinstance(steps, list) else (), 1):
        if not isinstance(each, Mapping):
            continue
        operation = str(each.get("operation") or "")
        if operation in ("", "Choose one", "Goto site"):
            continue
        key, selector, value = f"browser_steps: {number} {operation}", str(each.get("selector") or "").strip(), str(each.get("optional_value") or "")
        step = _step(operation, selector, value)
        if step is None or selector.startswith(("/", "xpath=")):
            spider.leave_out(key, "steps have CSS selectors; find one for this element" if step is not None else "it has no counterpart in `steps` of `render`")
        elif "fill" in step and (is_secret(selector.strip("#.[]\"'")) or re.search(r"(?i)pass|secret|token", selector)):
            spider.leave_out(key, "the value looks like a password; write it as value = { env = \"NAME\" }, or use [spiders.NAME.login] with browser = true")
        else:
            yield step


def _step(operation: str, selector: str, value: str) -> dict[str, Any] | None:
    """Return a step of `render`; None if it has no counterpart."""
    if operation in ("Click element", "Check checkbox") and selector:
        return {"click": selector}
    if operation == "Click element if exists" and selector:
        return {"click": selector, "optional": True}
    if operation == "Enter text in field" and selector:
        return {"fill": selector, "value": value}
    if operation in ("Select by label", "<select> by option text") and selector:
        return {"select": selector, "value": value}
    if operation == "Press Enter":
        return {"press": "Enter"}
    if operation in ("Scroll down", "Scroll to bottom"):
        return {"scroll": "end"}
    if operation == "Wait for seconds" and re.fullmatch(r"\s*\d+(\.\d+)?\s*", value):
        return {"wait": f"{float(value):g}s"}
    return None
