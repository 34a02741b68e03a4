"""The rules of a spider: selectors, the fields of its items, details pages, numbered pages and what to watch."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Annotated, Any, Literal

import cssselect
import jmespath
import regex
from jmespath.exceptions import JMESPathError
from lxml import etree  # type: ignore[import-untyped]
from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.settings.fields.scalars import Table, nearest


def check_css(value: str | None) -> str | None:
    if value is not None:
        try:
            cssselect.parse(value)
        except cssselect.SelectorError as error:
            raise PydanticCustomError("selector", "{found} is no CSS selector: {why}",
                                      {"found": repr(value), "why": str(error)}) from error
    return value


def _check_xpath(value: str | None) -> str | None:
    if value is not None:
        try:
            etree.XPath(value, namespaces={"re": "http://exslt.org/regular-expressions"})
        except etree.XPathError as error:
            raise PydanticCustomError("selector", "{found} is no XPath: {why}",
                                      {"found": repr(value), "why": str(error)}) from error
    return value


def _check_jmes(value: str | None) -> str | None:
    if value is not None:
        try:
            jmespath.compile(value)
        except JMESPathError as error:
            raise PydanticCustomError("selector", "{found} is no JMESPath: {why}", {
                "found": repr(value), "why": str(error).partition("\n")[0]}) from error
    return value


def _check_regex(value: str | None) -> str | None:
    if value is not None:
        try:
            regex.compile(value)
        except regex.error as error:
            raise PydanticCustomError("selector", "{found} is no regular expression: {why}",
                                      {"found": repr(value), "why": str(error)}) from error
    return value


def check_regexes(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        _check_regex(value)
    return values


def check_extra(module: str, extra: str) -> None:
    """Raises PydanticCustomError where an optional package is not installed."""
    if find_spec(module) is None:
        raise PydanticCustomError("extra", "needs the package {module}, which is not installed; "
                                  "pip install 'crawl-to-inbox[{extra}]'", {"module": module, "extra": extra})


_SOURCES = ("css", "xpath", "jmes", "header", "page")


class SelectorTable(Table):
    """One rule: one of css, xpath, jmes, header, page; regex narrows what it matched.

    `json` or `data` say which JSON a jmes looks into; without either it is the page itself.
    """

    css: str | None = None
    xpath: str | None = None
    jmes: str | None = None
    json_: str | None = Field(None, alias="json")
    """CSS of the script elements whose JSON is meant: "script#__NEXT_DATA__"."""
    data: Literal["json-ld", "opengraph", "microdata", "csv"] | None = None
    """What the page says of itself as data (a list of records; of OpenGraph one record), or its rows as CSV."""
    header: str | None = None
    """A response header by name; `status` of the page is `{ page = "status" }`."""
    page: Literal["status", "url", "title"] | None = None
    regex: str | None = None
    """Its first group, or all of it where it has none. Given a tenth of a second on each text."""
    default: Any = None
    type: Literal["text", "raw", "number", "price", "date", "url", "html", "json"] = "text"
    """text: blanks made one; raw: as it stands; price: amount, currency and text; url: absolute; json: the value as it is, for jmes."""
    format: str | None = None
    """Of a date, as strptime has it: "%d.%m.%Y". Without it ISO 8601 and RFC 5322 dates are read."""
    guess: bool | tuple[str, ...] = False
    """Of a date: as people write it, in any language, or in languages such as ["de", "fr"]. Needs the extra `dates`."""
    decimal: Literal[".", ","] | None = None
    """The decimal mark of a number; told from the number itself by default."""
    currency: str | None = Field(None, pattern=r"^[A-Z]{3}$")
    """By ISO 4217, of a price that has no sign of currency, or one that may mean several: kr, $, Rs."""
    strip: str | None = None
    """Characters taken off both ends, beside blanks."""
    join: str | None = None
    """All matches as one text, with this between them."""
    many: bool = False
    required: bool = False
    """An item without it is kept aside as rejected."""

    _css = field_validator("css", "json_")(check_css)
    _xpath = field_validator("xpath")(_check_xpath)
    _jmes = field_validator("jmes")(_check_jmes)
    _regex = field_validator("regex")(_check_regex)

    @field_validator("format")
    @classmethod
    def _date_format(cls, value: str | None) -> str | None:
        if value is not None:
            example = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
            try:
                datetime.strptime(example.strftime(value), value)  # noqa: DTZ007  only whether it is one
            except (ValueError, re.error) as error:
                raise PydanticCustomError("selector", "{found} is no date format: {why}",
                                          {"found": repr(value), "why": str(error)}) from error
        return value

    @field_validator("guess")
    @classmethod
    def _languages(cls, value: bool | tuple[str, ...]) -> bool | tuple[str, ...]:
        if value:
            check_extra("dateparser", "dates")
            from dateparser.data.languages_info import language_order  # noqa: PLC0415  an extra
            for language in value if isinstance(value, tuple) else ():
                if language not in language_order:
                    raise PydanticCustomError("language", "{found} is no language that dates are read in; "
                                              "write it as \"de\" or \"pt\"", {"found": repr(language)})
        return value

    @model_validator(mode="after")
    def _one_source(self) -> SelectorTable:
        self._check_source()
        if self.json_ is not None and self.data is not None:
            raise PydanticCustomError("selector", "give json or data, not both")
        if self.format is not None and self.type != "date":
            raise PydanticCustomError("selector", "format belongs to type = \"date\"")
        if self.guess and (self.type != "date" or self.format is not None):
            raise PydanticCustomError("selector", "guess belongs to type = \"date\" without a format")
        if self.decimal is not None and self.type not in ("number", "price"):
            raise PydanticCustomError("selector", "decimal belongs to type = \"number\" or \"price\"")
        if self.currency is not None and self.type != "price":
            raise PydanticCustomError("selector", "currency belongs to type = \"price\"")
        if self.join is not None and self.many:
            raise PydanticCustomError("selector", "give join or many, not both")
        return self

    def _check_source(self) -> None:
        given = [name for name in _SOURCES if getattr(self, name) is not None]
        if not given and (self.regex or self.json_ or self.data):
            return
        if len(given) != 1:
            raise PydanticCustomError("selector", "give one of css, xpath, jmes, header, page (found {found})",
                                      {"found": ", ".join(given) or "none"})
        if (self.json_ or self.data) and self.jmes is None:
            raise PydanticCustomError("selector", "{name} is read with jmes, not with {found}",
                                      {"name": "json" if self.json_ else "data", "found": given[0]})

    @property
    def is_json(self) -> bool:
        """Whether it looks into JSON rather than into a document."""
        return self.jmes is not None or self.json_ is not None or self.data is not None


def selector(value: object) -> object:
    """A bare string is CSS, or XPath when it starts with / or ./ (also (/ and .//)."""
    if isinstance(value, str):
        if not value.strip():
            raise PydanticCustomError("selector", "an empty selector matches nothing")
        return {"xpath" if value.lstrip("(").startswith(("/", "./")) else "css": value}
    return value


Selector = Annotated[SelectorTable, BeforeValidator(selector)]


class FieldTable(SelectorTable):
    """One field of an item: a selector, or a record of its own with `fields`, or a list of them with `each`, too."""

    each: Selector | None = None
    fields: dict[str, Rule] = Field(default_factory=dict)

    def _check_source(self) -> None:
        if not self.fields:
            if self.each is not None:
                raise PydanticCustomError("selector", "each needs fields: what one of its matches has")
            super()._check_source()
            return
        given = sorted(self.model_fields_set - {"each", "fields", "required"})
        if given:
            raise PydanticCustomError("selector", "a field with fields of its own takes each and required only "
                                      "(found {found})", {"found": ", ".join(given)})


Rule = Annotated[FieldTable, BeforeValidator(selector)]
FieldTable.model_rebuild()


class DetailsTable(Table):
    """A page of its own for each item: the link to it, and the fields found there."""

    link: Selector
    fields: dict[str, Rule] = Field(min_length=1)


_CHANGE = re.compile(r"(\d+(?:\.\d+)?)\s*(%?)")


def _minimum(value: object) -> object:
    """ "5%" of the old value, or an amount as a number."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return float(value), False
    if isinstance(value, str) and (match := _CHANGE.fullmatch(value.strip())):
        return float(match[1]), bool(match[2])
    if isinstance(value, tuple):
        return value
    raise PydanticCustomError("min_change", "{found} is no change; write it as \"5%\" or as an amount such as 0.5",
                              {"found": repr(value)})


MinChange = Annotated[tuple[float, bool], BeforeValidator(_minimum)]
"""An amount, and whether it is per cent of the old value."""


class ItemsTable(Table):
    """What is an item on a page, what its fields are, and which differences count as a change."""

    each: Selector | None = None
    key: tuple[str, ...] = ()
    fields: dict[str, Rule] = Field(default_factory=dict)
    details: DetailsTable | None = None
    ignore: tuple[str, ...] = ()
    """Fields that are kept up to date but never make a change."""
    min_change: dict[str, MinChange] = Field(default_factory=dict)
    """How far a number must move from what was last reported, in per cent ("5%") or as an amount (0.5)."""
    coverage: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    """The share of items (0 to 1) that must have a field; a run below it is suspect."""

    @property
    def all_fields(self) -> dict[str, FieldTable]:
        """Fields of the listing and of the details page."""
        return self.fields | (self.details.fields if self.details else {})

    @model_validator(mode="after")
    def _names_are_fields(self) -> ItemsTable:
        known = self.all_fields
        for option in ("key", "ignore", "min_change", "coverage"):
            for name in getattr(self, option):
                if known and name not in known:
                    raise PydanticCustomError("key", "{option} names {name}, which is no field{hint}", {
                        "option": option, "name": repr(name), "hint": nearest(name, known)})
        for name in self.key:
            if name in known and known[name].type == "price":
                raise PydanticCustomError("key", "{name} is a price and cannot be part of the key", {"name": repr(name)})
        for name in self.ignore:
            if name in self.key:
                raise PydanticCustomError("key", "{name} is part of the key and cannot be ignored", {"name": repr(name)})
        return self


class PagesTable(Table):
    """Pages of one listing that differ in a number or a cursor. They end with the first that has no item (or, with
    `cursor`, that names no next one)."""

    param: str = Field(min_length=1)
    """The parameter's name; in JSON a path such as "query.offset"."""
    where: Literal["query", "form", "json"] = "query"
    """The start's URL, its form or its JSON body."""
    first: int = 1
    """What the start itself stands for."""
    step: int = Field(1, ge=1)
    """1 for page numbers, the page size for offsets."""
    cursor: Selector | None = None
    """Where a page names the next one."""
    state: str | None = None
    """CSS of the form whose hidden fields a page hands on to the next, as ASP.NET's __VIEWSTATE; with where = "form"."""
    limit: int = Field(0, ge=0)
    """At most so many pages of each start; 0: no limit."""

    _state = field_validator("state")(check_css)

    @model_validator(mode="after")
    def _state_is_of_a_form(self) -> PagesTable:
        if self.state is not None and self.where != "form":
            raise PydanticCustomError("pages", "state belongs to where = \"form\"")
        return self


class WatchTable(Table):
    """What `spider = "watch"` compares: parts of a page as normalised text."""

    part: Selector | None = None
    """Only this; all matches, one after the other. The body of the page by default."""
    ignore: tuple[str, ...] = ()
    """Regular expressions: what they match is left out of every line, and lines that become empty with it."""
    name: Selector | None = None
    """What the item is called; the page's title by default."""

    _ignore = field_validator("ignore")(check_regexes)
