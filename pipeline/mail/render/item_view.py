"""Prepare one item for the mail templates: title, link, and all fields or only the changed fields."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from pipeline.display.field_view import Detail, FieldView
from pipeline.display.item_fields import ItemFields, data_of, link_of, visible, visible_key
from pipeline.mail.render.archive_links import ArchiveLink, ArchiveLinks
from pipeline.mail.render.charts import Chart
from pipeline.mail.render.page_shot import PageShot
from pipeline.mail.render.thumbnails import ItemPicture
from pipeline.model import Change, ChangeKind
from pipeline.text import clean_line

SHORT, SHORTEST = 120, 100
"""If a mail shows at most so many characters of a text, an item that is only named has a shorter title and, unless they are prices or changed, no fields; then
also no long link."""
_TITLE_LENGTH, _SHORT_TITLE_LENGTH = 100, 60
_VALUE_LENGTH, _SHORT_VALUE_LENGTH = 60, 40
LINK_LENGTH, _SHORT_LINK_LENGTH = 300, 120
"""An item that is only named has no link if its URL is longer, because the mail has no room for many such URLs."""


@dataclass(frozen=True)
class ItemView:
    """One item, in the form in which a mail shows it.

    spider: the spider's name to show; "" if the digest has only one spider. compact: whether all fields are shown on one line. shots: how the
    page of the item looks. number: the number under which the summary of a language model refers to the item; 0 if it does not.
    archived: the link to the archived page; None if there is none. brief: whether the item is only named, on one line with at most one field.
    """

    title: str
    link: str
    spider: str
    fields: list[FieldView]
    charts: Sequence[Chart] = ()
    compact: bool = False
    picture: ItemPicture | None = None
    shots: Sequence[PageShot] = ()
    number: int = 0
    archived: ArchiveLink | None = None
    brief: bool = False

    @property
    def price(self) -> FieldView | None:
        """The first field of a compact item that is a price, which stands at the end of the line of the title."""
        return next((view for view in self.fields if view.is_price), None) if self.compact else None


@dataclass(frozen=True)
class ItemViewer(ItemFields):
    """Makes an `ItemView` from a change.

    show_spider: whether items show the name of their spider; True if the digest has several spiders. compact_kinds: the kinds of change whose
    items are shown on one line each, because there are many. archive: makes the links to archived pages.
    """

    show_spider: bool = False
    compact_kinds: Collection[ChangeKind] = ()
    archive: ArchiveLinks = field(default_factory=ArchiveLinks)

    def item(self, change: Change, charts: Sequence[Chart], detail: Detail, picture: ItemPicture | None = None,
             shots: Sequence[PageShot] = ()) -> ItemView:
        display = self._rules_of(change).display
        title, link = self.title(change), link_of(visible(data_of(change), display), visible_key(change, display))
        compact = change.kind in self.compact_kinds
        fields = self.changed_fields(change, detail) if change.kind is ChangeKind.CHANGED \
            else self.plain_fields(change, title, link, compact=compact)
        if picture is not None and change.kind is not ChangeKind.CHANGED:
            fields = [view for view in fields if view.name != picture.field or view.html is not None]
        return ItemView(clean_line(title, 160) or clean_line(visible_key(change, display), 160) or "—", link,
                        change.spider if self.show_spider else "", fields, charts, compact, picture, shots,
                        archived=None if compact else self.archive.of(change, self.words))

    def brief(self, change: Change, length: int) -> ItemView:
        """Return an item that is only named: its title, its link, and its price, its first field or, if it changed, one changed field.

        length: maximum number of characters of a text in this mail, which says how much room there is.
        """
        display, is_short = self._rules_of(change).display, length <= SHORT
        most, detail = _SHORT_TITLE_LENGTH if is_short else _TITLE_LENGTH, Detail(1, 1, _SHORT_VALUE_LENGTH if is_short else _VALUE_LENGTH)
        title, link = self.title(change), link_of(visible(data_of(change), display), visible_key(change, display))
        is_changed = change.kind is ChangeKind.CHANGED
        fields = self.changed_fields(change, detail) if is_changed else self.plain_fields(change, title, link, compact=True, length=detail.length)
        telling = [view for view in fields if view.is_price] or ([] if is_short and not is_changed else fields)
        has_link = len(link) <= (_SHORT_LINK_LENGTH if length <= SHORTEST else LINK_LENGTH)
        return ItemView(clean_line(title, most) or clean_line(visible_key(change, display), most) or "—", link if has_link else "",
                        change.spider if self.show_spider else "", [_cut(view, detail.length) for view in telling[:1]], brief=True)


def _cut(view: FieldView, length: int) -> FieldView:
    """Return a field whose values have at most `length` characters in the HTML: the limit of an amount of detail is one for places of texts only."""
    return replace(view, old=clean_line(view.old, length), new=clean_line(view.new, length), value=clean_line(view.value, length))
