"""How the fields of items are shown in digests.

The keys that [digests.NAME] and [spiders.NAME.display] share.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from pipeline.settings.fields.scalars import Table

FieldFormat = Literal["auto", "text", "price", "number", "percent", "share", "date", "datetime", "size", "link", "image", "html"]
Direction = Literal["up", "down"]


_DIRECTIONS = get_args(Direction)


def _good(value: object) -> object:
    """Check a direction, or a table of directions. A union of types would report the problems of both."""
    for each in value.values() if isinstance(value, dict) else [value]:
        if each not in _DIRECTIONS:
            raise PydanticCustomError("good", "{found} is not a direction; write \"up\" or \"down\", or a table such as {example}",
                                      {"found": repr(each), "example": '{ price = "down" }'})
    return value


GoodDirections = Annotated[Direction | dict[str, Direction], BeforeValidator(_good)]


class DisplayTable(Table):
    """How digests show the fields of a spider's items. A key of [digests.NAME] replaces the same key of this table."""

    show: tuple[str, ...] = ()
    """Names of the fields that the mail shows, in this order. By default all fields are shown, except for empty values and values
    that are meant for machines."""
    hide: tuple[str, ...] = ()
    """Names of fields that the mail does not show."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Texts that replace the names of fields, by name of the field."""
    formats: dict[str, FieldFormat] = Field(default_factory=dict)
    """Formats of fields, by name of the field. By default the type and the value of the field decide."""
    good: GoodDirections = Field(default_factory=dict)
    """Which direction of a number is good news: "up", "down" or a table of field names with one of them. The mail shows good news
    green and bad news red; by default neither."""

    @model_validator(mode="after")
    def _shown_or_hidden(self) -> Self:
        for name in self.show:
            if name in self.hide:
                raise PydanticCustomError("display", "the field {name} is in both `show` and `hide`; remove it from one of them", {"name": repr(name)})
        return self

    def over(self, defaults: DisplayTable) -> DisplayTable:
        """Return the display with the keys of this table, and with those of `defaults` for the keys that this table lacks."""
        given = self.model_fields_set
        show = self.show if "show" in given else defaults.show
        hide = self.hide if "hide" in given else tuple(name for name in defaults.hide if "show" not in given or name not in self.show)
        good = {**defaults.good, **self.good} if isinstance(self.good, dict) and isinstance(defaults.good, dict) else (
            self.good if "good" in given else defaults.good)
        return DisplayTable.model_construct(show=show, hide=hide, labels=defaults.labels | self.labels, formats=defaults.formats | self.formats,
                                            good=good)

    def good_of(self, field: str) -> Direction | None:
        """Return which direction of a field is good news; None if neither is."""
        return self.good.get(field) if isinstance(self.good, dict) else self.good
