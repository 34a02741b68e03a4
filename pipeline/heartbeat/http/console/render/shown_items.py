"""Shows items and their changes on pages as digests show them, with secrets masked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import quote

from pipeline.archive.reading.links import path_at, path_before, path_of_both
from pipeline.model import PICTURE, Change, ChangeKind, Json, PagePicture
from pipeline.settings import DisplayTable, Settings
from pipeline.settings.masking import Mask
from pipeline.store.console.items import ItemRow

if TYPE_CHECKING:
    from pipeline.display.field_view import FieldView
    from pipeline.display.formats import FieldRules
    from pipeline.display.item_fields import ItemFields

COLUMNS = 5
"""Maximum number of fields in the table of items; the page of an item has all."""
_PLACES, _LENGTH = 4, 200
"""How many places of a changed field are shown, and how many characters of each."""
_CELL, _VALUE = 160, 4000


@dataclass(frozen=True)
class ShownItem:
    """An item in a table. fields: for each column its field; None if it is empty. picture: path of its picture; "" if there is none."""

    row: ItemRow
    title: str
    link: str
    fields: list[FieldView | None]
    picture: str


@dataclass(frozen=True)
class ArchivedPaths:
    """The paths of an archived page: at a change, before it, and both beside each other. before, both: "" for a new item."""

    at: str
    before: str = ""
    both: str = ""


@dataclass(frozen=True)
class ShownChange:
    """A change. item: path of the page of its item; "" if it has none. fields: the changed fields, or those of a new item. pictures: the page before and after.
    archived: where the pages show the archived page; None if the spider did not archive pages.
    """

    kind: ChangeKind
    at: datetime
    run_id: int
    title: str
    item: str
    fields: list[FieldView]
    pictures: list[str]
    archived: ArchivedPaths | None = None


class ShownItems:
    """Shows items and changes in the language and the time zone of the pages.

    The modules of `pipeline.display` are imported when they are first used, because they take a tenth of the time of a start.
    """

    def __init__(self, settings: Settings, mask: Mask, language: str, zone: tzinfo) -> None:
        self._settings = settings
        self._mask = mask
        self._language = language
        self._zone = zone

    @cached_property
    def _fields(self) -> ItemFields:
        from pipeline.display.formats import rules_of  # noqa: PLC0415
        from pipeline.display.item_fields import ItemFields  # noqa: PLC0415
        from pipeline.languages import wording  # noqa: PLC0415
        rules = {name: rules_of(table, table.display) for name, table in self._settings.spiders.items()}
        return ItemFields(wording(self._language), rules, self._zone)

    def display_of(self, spider: str) -> DisplayTable:
        return self._rules(spider).display

    def _rules(self, spider: str) -> FieldRules:
        from pipeline.display.formats import FieldRules  # noqa: PLC0415
        return self._fields.rules.get(spider, FieldRules())

    def archives(self, spider: str) -> bool:
        """Return whether a spider archives its pages."""
        return spider in self._settings.spiders and self._settings.spiders[spider].archive is not None

    @property
    def timestamps(self) -> bool:
        """Whether a server of [archive] confirms when a file existed."""
        return self._settings.archive.timestamp_url is not None

    def label(self, spider: str, field: str) -> str:
        return self._rules(spider).label_of(field)

    def change(self, change: Change) -> ShownChange:
        """Return a change with the fields that a digest shows of it."""
        from pipeline.display.field_view import Detail  # noqa: PLC0415
        masked = self._masked(change)
        title, link = self._fields.title(masked), self._link(masked)
        fields = self._fields.changed_fields(masked, Detail(1, _PLACES, _LENGTH)) if change.kind is ChangeKind.CHANGED else \
            self._fields.plain_fields(masked, title, link, compact=False)
        item = item_path(change.spider, change.key) if masked.key == change.key else ""  # a path must not show a secret
        return ShownChange(change.kind, change.at, change.run_id, title, item, fields,
                           _pictures_of(change, self.display_of(change.spider)), self._archived(change))

    def items(self, spider: str, rows: Sequence[ItemRow], columns: Sequence[str], stored: Callable[[str, Iterable[str]], dict[str, str]]) -> list[ShownItem]:
        """Return items as rows of a table. stored: returns the path of the stored picture for each URL that has one."""
        from pipeline.display.picture_url import picture_url  # noqa: PLC0415
        found = [(row, self._change_of(spider, row)) for row in rows]
        urls = {row.id: url[1] for row, change in found if (url := picture_url(change, self._rules(spider))) is not None}
        pictures = stored(spider, urls.values())
        return [ShownItem(row, self._fields.title(change), self._link(change), [self.field(spider, name, row.data.get(name), length=_CELL) for name in columns],
                          page_picture(row.data.get(PICTURE), spider) or pictures.get(urls.get(row.id, ""), "")) for row, change in found]

    def item(self, spider: str, row: ItemRow) -> tuple[str, str, list[tuple[str, str, FieldView | None, str]]]:
        """Return the title and the link of an item and, of each field that is not hidden, its name, label, view and picture."""
        change = self._change_of(spider, row)
        display = self.display_of(spider)
        names = [name for name in display.show if name in row.data] if display.show else [name for name in row.data if name not in display.hide]
        return self._fields.title(change), self._link(change), [
            (name, self.label(spider, name), self.field(spider, name, row.data[name], length=_VALUE), page_picture(row.data[name], spider)) for name in names]

    def field(self, spider: str, name: str, value: Json, *, length: int) -> FieldView | None:
        """Return the view of a value; None if it has no visible text."""
        from pipeline.display.field_view import FieldViewer  # noqa: PLC0415
        viewer = FieldViewer(self._fields.words, self._zone)
        return viewer.value(name, self._mask.in_values(value), self._rules(spider), link="", length=length, on_one_line=length <= _CELL)

    def columns(self, spider: str, rows: Sequence[ItemRow]) -> list[str]:
        """Return the names of the fields that are the columns of a table: not those that are titles, links or pictures."""
        from pipeline.display.item_fields import LINKS, TITLES  # noqa: PLC0415
        from pipeline.display.picture_url import picture_url  # noqa: PLC0415
        display = self.display_of(spider)
        names = list(dict.fromkeys(name for row in rows for name in row.data))
        if display.show:
            return [name for name in display.show if name in names][:COLUMNS]
        pictured = {url[0] for row in rows[:10] if (url := picture_url(self._change_of(spider, row), self._rules(spider))) is not None}
        return [name for name in names if name not in display.hide and name.casefold() not in (*TITLES, *LINKS) and name not in {*pictured, PICTURE}][:COLUMNS]

    def _link(self, change: Change) -> str:
        from pipeline.display.item_fields import data_of, link_of, visible, visible_key  # noqa: PLC0415
        display = self.display_of(change.spider)
        return link_of(visible(data_of(change), display), visible_key(change, display))

    def _archived(self, change: Change) -> ArchivedPaths | None:
        if not change.page_url or self._mask(change.page_url) != change.page_url:  # a path must not show a secret
            return None
        page = change.spider, change.page_url, change.at
        if change.kind is ChangeKind.NEW:
            return ArchivedPaths(path_at(*page))
        return ArchivedPaths(path_at(*page), path_before(*page, change.run_id), path_of_both(*page, change.run_id))

    def _masked(self, change: Change) -> Change:
        return replace(change, key=self._mask(change.key), before=self._mask.in_values(change.before), after=self._mask.in_values(change.after))

    def _change_of(self, spider: str, row: ItemRow) -> Change:
        """Return an item as the change that found it, which is what digests show."""
        return self._masked(Change(0, spider, row.key, ChangeKind.NEW, row.changed_at, 0, {}, row.data))


def item_path(spider: str, key: str) -> str:
    """Return the path that leads to the page of the item with this key."""
    return f"/spiders/{quote(spider)}/item?key={quote(key, safe='')}"


def page_picture(value: Json, spider: str) -> str:
    """Return the path of the picture of a page that a field contains; "" if it contains none."""
    picture = PagePicture.of(value, spider)
    return f"/pictures/{quote(picture.file)}" if picture is not None else ""


def _pictures_of(change: Change, display: DisplayTable) -> list[str]:
    if PICTURE in display.hide:
        return []
    values = (change.before.get(PICTURE), change.after.get(PICTURE))
    return list(dict.fromkeys(filter(None, (page_picture(value, change.spider) for value in values))))
