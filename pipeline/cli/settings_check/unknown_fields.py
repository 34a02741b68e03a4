"""Check that each field named by a filter, chart, display or path is one that the spiders produce."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.cli.settings_check.remark import Remark
from pipeline.settings import DigestTable, DisplayTable, FieldTable, RecipientsTable, Settings, SpiderTable, nearest
from pipeline.settings.fields.path_template import item_fields

_NO_NUMBERS = ("date", "url", "html")
_NOT_FOR = {
    "price": ("date", "datetime", "size", "link", "image", "html"), "number": ("link", "image", "html"),
    "date": ("price", "number", "percent", "share", "size", "link", "image", "html"), "url": ("price", "number", "percent", "share", "size", "date", "datetime", "html"),
    "html": ("price", "number", "percent", "share", "size", "date", "datetime", "link", "image")}
"""The formats that the values of a declared type never have."""
_PRICE = ("amount", "currency", "text")


def check(settings: Settings) -> Iterator[Remark]:
    """Yield a remark for each field that does not exist. The fields of spiders written in Python are unknown and not checked."""
    for name, spider in settings.spiders.items():
        yield from _spider(f"spiders.{name}", spider)
        yield from _without_effect(settings, f"spiders.{name}.display", spider.display, [name])
    for name, digest in settings.digests.items():
        yield from _digest(settings, f"digests.{name}", digest)


def _spider(key: str, spider: SpiderTable) -> Iterator[Remark]:
    known = spider.item_fields
    if known is None:
        return
    for path in item_fields(spider.downloads.path):
        if not _has_path(spider, known, path):
            yield Remark(f"{key}.downloads.path", f"the items have no field {path!r}{nearest(path, known)}", _known(known), depends_on=(f"{key}.items",))
    for option, name in _displayed(spider.display):
        if name not in known:
            yield Remark(f"{key}.display.{option}", f"the items have no field {name!r}{nearest(name, known)}", _known(known), depends_on=(f"{key}.items",))
    if spider.items is not None:
        for option in ("key", "ignore", "min_change", "coverage"):
            for name in getattr(spider.items, option):
                if name not in known:
                    yield Remark(f"{key}.items.{option}", f"the items have no field {name!r}{nearest(name, known)}", _known(known), depends_on=(f"{key}.items",))


def _displayed(display: DisplayTable) -> Iterator[tuple[str, str]]:
    """Yield each key of a display that names fields, with each field that it names."""
    for option in ("show", "hide", "labels", "formats", "good"):
        names = getattr(display, option)
        for name in () if isinstance(names, str) else names:
            yield option, name


def _has_path(spider: SpiderTable, known: Iterable[str], path: str) -> bool:
    """Return whether a path such as "author.name" exists in a spider's items."""
    if path in known:
        return True
    first, *rest = path.split(".")
    fields = spider.items.all_fields if spider.items is not None else {}
    return first in known and (first not in fields or _has_steps(fields[first], rest))


def _has_steps(field: FieldTable, steps: list[str]) -> bool:
    if not steps or field.type == "json":
        return True
    if field.type == "price":
        return steps[0] in _PRICE
    return not field.many and field.each is None and steps[0] in field.fields and _has_steps(field.fields[steps[0]], steps[1:])


def _digest(settings: Settings, key: str, digest: DigestTable) -> Iterator[Remark]:
    yield from _recipients(settings, key, digest, digest.spiders)
    yield from _unknown(settings, f"{key}.charts", digest.charts, digest.spiders, "is drawn")
    yield from _unknown(settings, f"{key}.important", digest.important, digest.spiders, "is compared")
    yield from _without_numbers(settings, key, digest)
    yield from _without_pictures(settings, key, digest)
    yield from _without_effect(settings, key, digest, digest.spiders)
    for option, name in _displayed(digest):
        yield from _unknown(settings, f"{key}.{option}", [name], digest.spiders, "is shown")
    for number, group in enumerate(digest.groups):
        yield from _recipients(settings, f"{key}.groups[{number}]", group, group.spiders or digest.spiders)


def _without_pictures(settings: Settings, key: str, digest: DigestTable) -> Iterator[Remark]:
    """Yield a warning if a digest shows pictures, but no field of its spiders can be one."""
    spiders = [settings.spiders[name] for name in digest.spiders if name in settings.spiders] if digest.images else []
    if not spiders or any(spider.item_fields is None for spider in spiders):
        return
    from pipeline.display.machine_values import is_picture_name

    for spider in spiders:
        selectors = spider.items.model_dump_json() if spider.items is not None else ""
        if "image" in digest.over(spider.display).formats.values() or any(map(is_picture_name, spider.item_fields or ())) or "src" in selectors or '"html"' in selectors:
            return
    yield Remark(f"{key}.images", "no field of the spiders is a picture", "add a field such as image = { css = \"img::attr(src)\", type = \"url\" }, "
                 "or name the field of the picture in `formats = { FIELD = \"image\" }`; or remove `images`", suspicious=True)


def _without_numbers(settings: Settings, key: str, digest: DigestTable) -> Iterator[Remark]:
    """Yield a warning for each field with a chart whose declared type is never a number."""
    for name in digest.charts:
        found = [settings.spiders[spider].items for spider in digest.spiders if spider in settings.spiders]
        rules = [items.all_fields[name] for items in found if items is not None and name in items.all_fields]
        if rules and all(rule.fields or rule.type in _NO_NUMBERS for rule in rules):
            yield Remark(f"{key}.charts", f"the field {name!r} is no number, so it has no chart", "choose a field with type = \"number\" or \"price\"",
                         suspicious=True)


def _without_effect(settings: Settings, key: str, display: DisplayTable, spiders: Iterable[str]) -> Iterator[Remark]:
    """Yield a warning for each format and each direction of a display that does not fit the declared type of its field."""
    found = [settings.spiders[name].items for name in spiders if name in settings.spiders]
    declared = [items.all_fields for items in found if items is not None]
    for option, names in (("formats", display.formats), ("good", display.good if isinstance(display.good, dict) else {})):
        for name, value in names.items():
            types = {fields[name].type for fields in declared if name in fields and not fields[name].fields}
            fits = [kind for kind in types if not (value in _NOT_FOR.get(kind, ()) if option == "formats" else kind in _NO_NUMBERS)]
            if types and not fits:
                yield Remark(f"{key}.{option}", f"{name} = \"{value}\" has no effect, because the field has type = \"{min(types)}\"", "remove it",
                             suspicious=True)


def _recipients(settings: Settings, key: str, table: RecipientsTable, spiders: tuple[str, ...]) -> Iterator[Remark]:
    yield from _unknown(settings, f"{key}.where", dict.fromkeys(condition.field for condition in table.where), spiders, "is compared")


def _unknown(settings: Settings, key: str, fields: Iterable[str], spiders: tuple[str, ...], used: str) -> Iterator[Remark]:
    """Yield a remark for each field that no spider of a digest produces."""
    found = [settings.spiders[name].item_fields for name in spiders if name in settings.spiders]
    if not found or len(found) < len(spiders) or any(one is None for one in found):
        return
    known = list(dict.fromkeys(name for one in found for name in one or ()))
    for field in fields:
        if field not in known:
            part = f"; only a whole field {used}, not a part of it" if field.partition(".")[0] in known else ""
            yield Remark(key, f"no spider of the digest has a field {field!r}{nearest(field, known)}{part}", _known(known),
                         depends_on=tuple(f"spiders.{name}.{part}" for name in spiders for part in ("spider", "items")))


def _known(known: Iterable[str]) -> str:
    return f"known: {', '.join(known) or 'none, because no spider of the digest declares `items`'}"
