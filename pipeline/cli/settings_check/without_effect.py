"""Check for settings that have no effect.

Rules that a kind of spider does not apply, unused proxies, schedules that are over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from pipeline.cli.settings_check.remark import Remark
from pipeline.registry import BUILT_IN_SPIDERS
from pipeline.session.browser.render_rules import RenderRules
from pipeline.settings import DigestTable, Settings, SpiderTable, nearest

_PLACEHOLDERS = ("name", "date", "summary")


def check(settings: Settings) -> Iterator[Remark]:
    """Yield a warning for each setting without effect."""
    for name, spider in settings.spiders.items():
        yield from _rules(f"spiders.{name}", spider)
        yield from _rendered(f"spiders.{name}", spider)
        yield from _arguments(f"spiders.{name}", spider)
        if settings.pipeline.storage is not None and spider.downloads.link_duplicates:
            yield Remark(f"spiders.{name}.downloads.link_duplicates", "has no effect, because an object store has no hard links",
                         "remove it", suspicious=True)
    for kind, tables in (("spiders", settings.spiders), ("digests", settings.digests)):
        for name, table in tables.items():
            yield from _schedules(settings, f"{kind}.{name}", table)
    for name, digest in settings.digests.items():
        yield from _placeholders(f"digests.{name}.subject", digest.subject or "")
    if settings.archive.timestamp_ca is not None and settings.archive.timestamp_url is None:
        yield Remark("archive.timestamp_ca", "has no effect, because no timestamp server is asked", "add timestamp_url, or remove it", suspicious=True)
    if settings.archive.model_fields_set and all(spider.archive is None for spider in settings.spiders.values()):
        yield Remark("archive", "no spider has `archive`, so no page is archived, and the table concerns only what was archived before",
                     "add archive = true to a spider, or remove the table", suspicious=True, depends_on=("spiders",))
    used = {spider.proxy for spider in settings.spiders.values()}
    for name in settings.proxies:
        if name not in used:
            yield Remark(f"proxies.{name}", "no spider uses the proxy", f'add proxy = "{name}" to a spider', suspicious=True, depends_on=("spiders",))


def _rules(key: str, spider: SpiderTable) -> Iterator[Remark]:
    if not spider.is_built_in:
        return
    registered = BUILT_IN_SPIDERS[spider.spider]
    ignored = registered.ignores if spider.items is not None else (*registered.ignores, *registered.only_with_items)
    for path in ignored:
        place: object = spider
        for step in path.split("."):
            place = getattr(place, step) if step in getattr(place, "model_fields_set", ()) else None
        if place:
            needs_items = path in registered.only_with_items
            why = f"fetches pages only with a table [{key}.items]" if needs_items else f"does not use `{path}`"
            yield Remark(f"{key}.{path}", f"has no effect, because spider = \"{spider.spider}\" {why}",
                         "add this table" if needs_items else "remove it, or choose another spider", suspicious=True)


def _rendered(key: str, spider: SpiderTable) -> Iterator[Remark]:
    """Yield a warning for each setting that has no effect because pages are rendered in a browser."""
    table = spider.render
    if table is None:
        return
    if table.only and _fetches_starts_only(spider) and not any(any(RenderRules.of(spider).matches(start.url)) for start in spider.start):
        yield Remark(f"{key}.render.only", "matches no URL in `start`, and the spider follows no links, so a page is rendered only if a start URL redirects to one that matches",
                     "correct the expression, or write the URL to which the site redirects as `start`", suspicious=True)
    if not table.only and not any(start.render is False for start in spider.start):
        for name in ("encoding", "revalidate", "page_cache"):
            if name in spider.model_fields_set and getattr(spider, name):
                yield Remark(f"{key}.{name}", "has no effect, because all pages are rendered in a browser", "remove it", suspicious=True)


def _fetches_starts_only(spider: SpiderTable) -> bool:
    """Return whether a spider fetches no pages but those in `start`, whose URLs the settings have completely."""
    finds_more = spider.follow or spider.pages is not None or (spider.items is not None and spider.items.details is not None)
    return spider.is_built_in and spider.spider in {"crawl", "watch"} and not finds_more and all(not start.params for start in spider.start)


def _arguments(key: str, spider: SpiderTable) -> Iterator[Remark]:
    known = BUILT_IN_SPIDERS[spider.spider].args if spider.is_built_in else None
    for name in spider.args if known is not None else ():
        if name not in (known or ()):
            yield Remark(f"{key}.args.{name}", f"spider = \"{spider.spider}\" has no argument {name!r}{nearest(name, known)}",
                         f"known: {', '.join(known or ()) or 'none'}", suspicious=True)


def _placeholders(key: str, subject: str) -> Iterator[Remark]:
    for found in re.findall(r"\{(\w*)\}", subject):
        if found not in _PLACEHOLDERS:
            yield Remark(key, f"{{{found}}} is not a placeholder{nearest(found, _PLACEHOLDERS)}, so the subject contains this text",
                         f"known: {', '.join(f'{{{name}}}' for name in _PLACEHOLDERS)}", suspicious=True)


def _schedules(settings: Settings, key: str, table: SpiderTable | DigestTable) -> Iterator[Remark]:
    today = datetime.now(UTC).astimezone(settings.zone).date()
    for number, schedule in enumerate(table.schedule):
        if schedule.until is not None and schedule.until < today:
            place = f"{key}.schedule[{number}]" if len(table.schedule) > 1 else f"{key}.schedule"
            yield Remark(f"{place}.until", f"the schedule ended on {schedule.until}", "change `until`, or remove the schedule", suspicious=True)
