"""Check for settings that are valid one by one, but have no effect or cannot work together."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.cli.settings_check.remark import Remark
from pipeline.settings import DigestTable, Settings, SpiderTable
from pipeline.settings.models.heartbeat import HIDDEN_CLIENTS, HIDDEN_CLIENTS_FIX
from pipeline.text import shown_url

_DAY_S = 86_400.0
_SMALL_ARCHIVE = 1_000_000


def check(settings: Settings) -> Iterator[Remark]:
    if not settings.spiders:
        yield Remark("spiders", "there is no spider, so there is nothing to do", "write one with `pipeline new spider NAME --from URL`, or add a table "
                     "such as [spiders.news] with start = [\"https://…\"]", depends_on=("",))
    beat = settings.heartbeat
    if settings.demo is not None and beat.on_port and settings.demo.port == beat.port != 0:
        yield Remark("demo.port", f"the demo site and the heartbeat cannot both use the port {beat.port}", "choose another port for one of them")
    if beat.hides_clients:
        yield Remark("heartbeat.public_url", HIDDEN_CLIENTS, HIDDEN_CLIENTS_FIX, suspicious=True, depends_on=("heartbeat",))
    for key, keep in [("archive.keep", settings.archive.keep),
                      *((f"spiders.{name}.archive.keep", spider.archive.keep) for name, spider in settings.spiders.items() if spider.archive is not None)]:
        if keep is not None and keep < _DAY_S:
            yield Remark(key, "archived pages are deleted as soon as their day (UTC) has ended, because files of whole days are kept or deleted",
                         "write a longer time, such as \"365d\"", suspicious=True)
    if settings.archive.quota is not None and settings.archive.quota < _SMALL_ARCHIVE:
        yield Remark("archive.quota", "archived pages are deleted as soon as they are seven days old, because hardly any fit into this size",
                     "write a larger size, such as \"50GB\"", suspicious=True)
    for name, spider in settings.spiders.items():
        yield from _items(f"spiders.{name}", spider)
    for name, digest in settings.digests.items():
        yield from _groups(f"digests.{name}", digest)


def _items(key: str, spider: SpiderTable) -> Iterator[Remark]:
    """Yield a warning if a spider extracts nothing, or if nothing identifies its items."""
    keeps_pages = spider.render is not None and (spider.render.screenshot is not None or spider.render.pdf)
    if spider.item_fields == () and spider.archive is not None and not spider.archives_all:
        yield Remark(f"{key}.archive", "nothing is archived, because the spider finds no items, and so no page has a change",
                     "set archive = true, or add `items`", suspicious=True, depends_on=(f"{key}.archive", f"{key}.items"))
    if spider.item_fields == () and not spider.download and not keeps_pages and not spider.archives_all:
        command = f"pipeline suggest {shown_url(spider.start[0].url)}{' --render' if spider.render is not None else ''}"
        yield Remark(key, "the spider has neither `items` nor `download`, so it only fetches pages", "add a table "
                     f"[{key}.items] with the fields to extract; `{command}` proposes one", suspicious=True, depends_on=(key, "items"))
    elif spider.items is not None and spider.items.fields and not spider.items.key and "url" not in spider.items.all_fields:
        yield Remark(f"{key}.items", "`key` is missing and there is no field `url`, so an item that changes is reported as a gone item and a new one",
                     f"name the fields that identify an item, such as key = [\"{next(iter(spider.items.fields))}\"]", suspicious=True, depends_on=(f"{key}.items",))


def _groups(key: str, digest: DigestTable) -> Iterator[Remark]:
    """Yield a remark for each group whose filter excludes everything that the digest's filter lets through."""
    for number, group in enumerate(digest.groups):
        if digest.changes and group.changes and set(digest.changes).isdisjoint(group.changes):
            yield Remark(f"{key}.groups[{number}].changes", f"the group never receives a change: the digest has only changes = "
                         f"{list(digest.changes)}", "add the kind of change to `changes` of the digest, or change the group")
