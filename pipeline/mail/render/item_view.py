"""Prepare one item for the mail templates: title, link, and all fields or only the changed fields."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from pipeline.display.field_view import Detail, FieldView
from pipeline.display.item_fields import ItemFields, data_of, link_of, visible, visible_key
from pipeline.mail.render.archive_links import ArchiveLink, ArchiveLinks
from pipeline.mail.render.charts import Chart
from pipeline.mail.render.page_shot import PageShot
from pipeline.mail.render.thumbnails import ItemPicture
from pipeline.model import Change, ChangeKind
from pipeline.text import clean_line


@dataclass(frozen=True)
class ItemView:
    """One item, in the form in which a mail shows it.

    spider: the spider's name to show; "" if the digest has only one spider. compact: whether all fields are shown on one line. shots: how the
    page of the item looks. number: the number under which the summary of a language model refers to the item; 0 if it does not.
    archived: the link to the archived page; None if there is none.
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
