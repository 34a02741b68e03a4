"""[spiders.NAME.watch]: what `spider = "watch"` compares, as text and as a picture."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.settings.fields.browser_values import ElementSelector
from pipeline.settings.fields.scalars import AlsoAccepts, Table
from pipeline.settings.models.extraction import Selector, check_css_of_elements, check_extra, check_regexes


class VisualTable(Table):
    """How `spider = "watch"` compares pictures of a page. `visual = true` stands for the defaults. Needs the extra `browser`."""

    threshold: float = Field(0.1, ge=0, le=1, strict=True)
    """How different a pixel must be to count as changed, from 0 (any difference) to 1; measured as people perceive colours."""
    min_change: float = Field(0.001, ge=0, le=1, strict=True)
    """Share of the pixels that must have changed for a change to be reported."""
    ignore: tuple[ElementSelector, ...] = ()
    """CSS selectors of elements that are left out only of the picture, such as advertisements and clocks. Those of `without` are left out, too."""

    @field_validator("ignore", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _installed(self) -> VisualTable:
        check_extra("playwright", "browser")
        return self


def _visual(value: object) -> object:
    if isinstance(value, bool):
        return {} if value else None
    if isinstance(value, (str, int, float, list)):
        raise PydanticCustomError("visual", "should be true, false or a table")
    return value


Visual = Annotated[VisualTable | None, BeforeValidator(_visual), AlsoAccepts({"type": "boolean"})]


class WatchTable(Table):
    """What `spider = "watch"` compares: the text of a page or of a part of it, with white space collapsed."""

    part: Selector | None = None
    """Selector of the part of the page to compare. By default the whole body is compared."""
    without: tuple[str, ...] = ()
    """CSS selectors of elements that are removed from the page before it is compared, such as menus, clocks and advertisements."""
    ignore: tuple[str, ...] = ()
    """Regular expressions. Matching text is removed before lines are compared."""
    name: Selector | None = None
    """Selector of the item's name. The default is the title of the page."""

    visual: Visual = None
    """Whether pictures of the page, or of `part`, are compared, too: true, or a table. The pages are then rendered in a browser (see `render`)."""

    @property
    def part_is_element(self) -> bool:
        """Whether `part` selects elements, of which a picture can be taken, and not data such as JSON or a header."""
        return self.part is not None and (self.part.css is not None or self.part.xpath is not None)

    _ignore = field_validator("ignore")(check_regexes)

    @field_validator("without", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("without")
    @classmethod
    def _removable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for selector in value:
            check_css_of_elements(selector)
        return value
