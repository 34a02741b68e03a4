"""Say which rules of a built-in spider matched nothing in a pass, and whether the pass is suspect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipeline.settings import SpiderTable
from pipeline.store.crawl.compare import Coverage, RuleCount
from pipeline.store.crawl.rule_counts import Usual, is_far_under
from pipeline.text import clean_line, counted, shown_url

_NONE = RuleCount()


def nothing_found(table: SpiderTable, coverage: Coverage, rejected: tuple[int, str] = (0, "")) -> str:
    """Return why a pass that ended found nothing; "" if it found something.

    A spider with `items`, and each of the spiders `watch`, `feed` and `sitemap`, must find an item. Any other built-in spider must
    find a file if it has `download`, and otherwise a link if it has `follow`. A spider written in Python may find nothing.
    rejected: the number of rejected items, and the most frequent reason.
    """
    rules = coverage.rules
    if not table.is_built_in or coverage.items:
        return ""
    if table.items is None and table.spider == "crawl":
        names = [name for name in rules if _base(name) in _main_rules(table)]
        if not names and (table.download or table.follow):
            return "no page is text to which the rules can be applied"
        return "" if any(rules[name].matches for name in names) else "; ".join(_nothing(name, rules[name]) for name in names)
    return _no_items(table, rules, rejected)


def _main_rules(table: SpiderTable) -> tuple[str, ...]:
    """Return the names of the rules that `nothing_found` reports."""
    if table.items is None and table.spider == "crawl":
        return ("download",) if table.download else ("follow",)
    return ("entries", "items", "items.each", "watch.part")


def _no_items(table: SpiderTable, rules: Mapping[str, RuleCount], rejected: tuple[int, str]) -> str:
    """Return why a pass found no item, by the rule that comes first: the later rules are applied to what it matches."""
    entries, whole = rules.get("entries", _NONE), rules.get("items.each", rules.get("items", _NONE))
    if entries.pages and not entries.matches:
        what = "sitemap" if table.spider == "sitemap" else "feed"
        return f"the {what} has no entry" if entries.pages == 1 else f"none of the {entries.pages} {what}s has an entry"
    if rules.get("allow", _NONE).pages and not rules["allow"].matches and not whole.pages:
        return "`allow` and `deny` leave none of the URLs in the sitemap"
    part = rules.get("watch.part", _NONE)
    for name, count in (("watch.part", part), ("items.each", whole) if "items.each" in rules else ("items", whole)):
        if count.pages and not count.matches and (name != "items" or not rejected[0]):
            return _nothing(name, count)
    if rejected[0]:
        return f"{_all_of(rejected[0], 'item')} rejected: {rejected[1]}"
    if "items.each" in rules and not any(name.startswith("items.fields.") for name in rules):
        return f"`items.each` matched on {counted(whole.pages_matched, 'page')}, but all fields are empty in each match"
    return "no items were found"


def yielded_nothing(table: SpiderTable, coverage: Coverage, rejected: tuple[int, str], *, downloads: bool) -> str:
    """Return a note about a pass of a spider without rules, such as one written in Python, that yielded nothing; "" if it did.

    Such a spider may have another purpose, such as the archive, so the pass is not suspect. downloads: whether the pass requested files.
    """
    if table.archives_all or coverage.items or rejected[0] or downloads or (table.is_built_in and (
            table.spider != "crawl" or table.items or table.download or table.follow)):
        return ""
    return "the spider has no rules: add `items`, `download` or `follow`" if table.is_built_in else "the spider yielded no item and no file"


def lost_pages(coverage: Coverage, before: Coverage) -> str:
    """Return why a complete pass is suspect because a rule no longer leads to further pages; "" if it is not suspect.

    before: the last complete pass. If two complete passes in a row lack the pages, only the first one is suspect.
    """
    if coverage.items and coverage.items >= before.items:
        return ""
    if not coverage.items and any(name.startswith("items") for name in coverage.rules):
        return ""  # `nothing_found` says so
    # If a list of two pages has shrunk to one that is not full, it has no link to another page.
    least = 1 if _items_a_page(coverage) >= _items_a_page(before) > 0 else 2
    for rule, count in coverage.rules.items():
        matched, base = before.rules.get(rule, _NONE).pages_matched, _base(rule)
        # The numbered page after the first one is always requested.
        if (base in ("follow", "pages.cursor") and matched >= least and not count.pages_matched) or (
                base == "pages" and matched > 2 and count.pages_matched == 1):
            return (f"`{rule}` matched on {counted(count.pages_matched, 'page')}, although it matched on {counted(matched, 'page')} "
                    "in the previous pass")
    return ""


def _items_a_page(coverage: Coverage) -> float:
    """Return how many matches `items.each` has on a page on which it matches; 0 if there is none."""
    each = coverage.rules.get("items.each", _NONE)
    return each.matches / each.pages_matched if each.pages_matched else 0.0


def _all_of(number: int, what: str) -> str:
    return f"the only {what} was" if number == 1 else f"all {number} {what}s were"


def obstacle_note(coverage: Coverage) -> str:
    """Return why pages of a pass have none of the site's content; "" if no page lacks it."""
    if coverage.obstacle is None:
        return ""
    pages, said, url = coverage.obstacle
    if pages > 1:
        return f"{said} ({pages} pages; the first: {shown_url(url)})"
    is_only_page = max((count.pages for count in coverage.rules.values()), default=1) == 1
    return said if is_only_page else f"{said} ({shown_url(url)})"


def rule_notes(table: SpiderTable, coverage: Coverage, usual: Usual, *, without: str = "") -> Iterator[str]:
    """Yield a note for each rule and field of which a pass found no value, or far fewer values than usual.

    A rule that `nothing_found` reports is left out. A field that the setting `coverage` names is left out too, since the user has
    said how many items must have it. without: a field to leave out.
    """
    items = table.items
    declared = (items.all_fields if items is not None else ()) if table.is_built_in else coverage.fields
    judged = {*(items.coverage if items is not None else ()), without}
    fields = {name: filled for name, filled in coverage.fields.items() if name not in judged}
    if empty := [name for name in declared if fields.get(name) == 0 and _is_notable(coverage.items, usual.fields.get(name))]:
        yield (f"{_names(empty)} {'is' if len(empty) == 1 else 'are'} empty in {coverage.items} of {counted(coverage.items, 'item')}")
    for name, filled in fields.items():
        share = usual.fields.get(name)
        if share and name not in empty and is_far_under(filled, coverage.items, share):
            yield f"`{clean_line(name, 60)}` is filled in {filled} of {counted(coverage.items, 'item')}, usually in {share:.0%}"
    matching = {_base(rule) for rule, count in coverage.rules.items() if count.matches}
    for rule, count in coverage.rules.items():
        field = rule.partition(".fields.")[2]
        is_judged = field in (*empty, *judged) or not coverage.items if field else (
            _base(rule) in _main_rules(table) and _base(rule) not in matching)
        # A listing may have a single page, so this is said only in the first pass, in which the rule may be a mistake.
        is_known = _base(rule) in ("follow", "pages.cursor") and count.pages == 1 and usual.passes > 0
        if not is_judged and not is_known and (note := _note(rule, count, usual)):
            yield note


def _note(rule: str, count: RuleCount, usual: Usual) -> str:
    base, share = _base(rule), usual.rules.get(rule)
    if not count.matches:
        if base == "pages":
            return ""  # the page after the last one has no items
        if base == "allow":
            return "`allow` and `deny` leave none of the links"
        return _nothing(rule, count) if _is_notable(count.items or count.pages, share) else ""
    is_rare = share == 1 and count.pages_matched < count.pages  # it has always matched on all pages
    if base in ("items.each", "watch.part", "entries") and share and (is_rare or is_far_under(count.pages_matched, count.pages, share)):
        return f"`{rule}` matched on {count.pages_matched} of {counted(count.pages, 'page')}, usually on {share:.0%}"
    return ""


def _is_notable(of: int, usual: float | None) -> bool:
    """Return whether it is worth a note that a rule found nothing in `of` items or pages.

    It is, unless earlier passes show that the rule usually finds something, but so seldom that finding nothing is no surprise.
    """
    return not usual or usual == 1 or is_far_under(0, of, usual)


def _nothing(rule: str, count: RuleCount) -> str:
    where = f"in {counted(count.items, 'item')}" if count.items else f"on {counted(count.pages, 'page')}"
    return f"`{rule}` matched nothing {where}"


def _base(rule: str) -> str:
    """Return the name of a rule without its index, such as "follow" for "follow[1]"."""
    return rule.partition("[")[0]


def _names(names: list[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"
