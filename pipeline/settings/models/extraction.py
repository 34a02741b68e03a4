"""The extraction rules of a spider: selectors, fields, details pages, numbered pages, what to watch."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Annotated, Any, Literal

import cssselect
from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.settings.fields.scalars import Table, nearest


def check_css(value: str | None) -> str | None:
    if value is not None:
        try:
            cssselect.parse(value)
        except cssselect.SelectorError as error:
            raise PydanticCustomError("selector", "{found} is not a CSS selector: {why}{hint}", {
                "found": repr(value), "why": str(error),
                "hint": "; this looks like XPath: write it as a text, or as xpath = …" if "/" in value
                else "; write an attribute as ::attr(NAME)" if "@" in value else ""}) from error
        if ":" in value and (why := _unknown_pseudo(value)):
            raise PydanticCustomError("selector", "{found} is not a CSS selector: {why}", {"found": repr(value), "why": why})
    return value


def check_css_of_elements(value: str) -> None:
    """Raise PydanticCustomError if a text is not a CSS selector of elements that lexbor can find."""
    check_css(value)
    from selectolax.lexbor import LexborHTMLParser, SelectolaxError  # noqa: PLC0415  only where elements are removed
    try:
        LexborHTMLParser("<i></i>").css(value)
    except SelectolaxError as error:
        raise PydanticCustomError("selector", "{found} is not a selector of elements; write a CSS selector without ::text and ::attr",
                                  {"found": repr(value)}) from error


def _unknown_pseudo(css: str) -> str:
    """Return what is wrong with the pseudo-classes and pseudo-elements of a CSS selector; "" if nothing is wrong.

    lexbor applies selectors, or parsel those that lexbor does not know. A selector is wrong if both do not know it.
    """
    translator = cssselect.HTMLTranslator()
    try:
        for each in cssselect.parse(css):
            element = each.pseudo_element
            name = element.name if isinstance(element, cssselect.parser.FunctionalPseudoElement) else element
            if name not in (None, "text", "attr"):
                return f"the pseudo-element ::{name} selects nothing; use ::text or ::attr(NAME)"
            translator.selector_to_xpath(each)
    except cssselect.SelectorError as error:
        from selectolax.lexbor import LexborHTMLParser, SelectolaxError  # noqa: PLC0415  only for selectors that parsel does not know
        try:
            LexborHTMLParser("<i></i>").css(css.partition("::")[0] or "*")
        except SelectolaxError:
            unknown = re.search(r":([a-z-]+)", str(error))
            return f"{error}{nearest(unknown[1], _PSEUDO_CLASSES) if unknown else ''}"
    return ""


_URL_ATTRIBUTE = re.compile(r"::attr\((?:href|src)\)|@(?:href|src)\b")
_PSEUDO_CLASSES = ("first-child", "last-child", "only-child", "nth-child", "nth-last-child", "first-of-type", "last-of-type", "only-of-type",
                   "nth-of-type", "nth-last-of-type", "not", "has", "is", "where", "empty", "root", "contains", "checked", "disabled", "enabled",
                   "link", "lang")
"""Pseudo-classes that a message suggests instead of an unknown one."""


def _check_xpath(value: str | None) -> str | None:
    if value is not None:
        from lxml import etree  # type: ignore[import-untyped]  # noqa: PLC0415  4 MB: only where a rule is XPath
        try:
            etree.XPath(value, namespaces={"re": "http://exslt.org/regular-expressions"})
        except etree.XPathError as error:
            raise PydanticCustomError("selector", "{found} is not an XPath expression: {why}",
                                      {"found": repr(value), "why": str(error)}) from error
    return value


def _check_jmes(value: str | None) -> str | None:
    if value is not None:
        import jmespath  # noqa: PLC0415  2 ms of a start: only where a rule is JMESPath
        try:
            jmespath.compile(value)
        except jmespath.exceptions.JMESPathError as error:
            raise PydanticCustomError("selector", "{found} is not a JMESPath expression: {why}", {
                "found": repr(value), "why": str(error).partition("\n")[0].removesuffix(", for expression:")}) from error
    return value


def _check_regex(value: str | None) -> str | None:
    if value is not None:
        import regex  # noqa: PLC0415  importing it takes 20 ms, and many settings have no regular expression
        try:
            regex.compile(value)
        except regex.error as error:
            raise PydanticCustomError("selector", "{found} is not a regular expression: {why}",
                                      {"found": repr(value), "why": str(error)}) from error
    return value


def check_regexes(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        _check_regex(value)
    return values


def check_extra(module: str, extra: str) -> None:
    """Raise PydanticCustomError if an optional package is not installed.

    extra: name of the extra that installs the package.
    """
    if find_spec(module) is None:
        raise PydanticCustomError("extra", "this setting needs the package {module}, which is not installed; "
                                  "run `pip install 'crawl-to-inbox[{extra}]'`", {"module": module, "extra": extra})


_SOURCES = ("css", "xpath", "jmes", "header", "page")


class SelectorTable(Table):
    """A selector with options: one of css, xpath, jmes, header, page, and how its matches are converted.

    A selector that is only a text is XPath if it begins with /, ./, (/ or (./, and CSS otherwise. `jmes` reads the JSON that `json`
    or `data` selects; without these keys, `jmes` reads the page itself as JSON.
    """

    css: str | None = None
    """CSS selector."""
    xpath: str | None = None
    """XPath expression."""
    jmes: str | None = None
    """JMESPath expression for JSON."""
    json_: str | None = Field(None, alias="json")
    """CSS selector of script elements that contain JSON, such as `script#__NEXT_DATA__`. `jmes` reads this JSON."""
    data: Literal["json-ld", "opengraph", "microdata", "csv"] | None = None
    """Structured data of the page: JSON-LD, OpenGraph, microdata, or the rows of a CSV file. `jmes` reads this data."""
    header: str | None = None
    """Name of a response header."""
    page: Literal["status", "url", "title"] | None = None
    """A property of the page: its HTTP status, URL or title."""
    regex: str | None = None
    """Regular expression that is applied to each match. The value is the first group of the expression, or the whole match if the
    expression has no group."""
    default: Any = None
    """Value if nothing matches."""
    type: Literal["text", "raw", "number", "price", "date", "url", "html", "json"] = "text"
    """Type of the value: text with white space collapsed, text without changes ("raw"), a number, a price (amount, currency, text),
    a date, an absolute URL, HTML, or a JSON value without changes."""
    format: str | None = None
    """Format of a date for strptime, such as "%d.%m.%Y". By default, dates are read in ISO 8601 and RFC 5322."""
    guess: bool | tuple[str, ...] = False
    """Whether a date may be written in words: true for any language, or a list of languages such as ["de", "fr"]. Needs the extra
    `dates`."""
    decimal: Literal[".", ","] | None = None
    """Decimal mark of a number. By default the decimal mark is detected."""
    currency: str | None = Field(None, pattern=r"^[A-Z]{3}$")
    """ISO 4217 code for prices without a currency sign, or with a sign that several currencies share, such as kr, $ or Rs."""
    strip: str | None = None
    """Characters to remove from both ends of the value, in addition to white space."""
    join: str | None = None
    """Text that joins all matches into one value, such as ", "."""
    many: bool = False
    """Whether the value is a list of all matches."""
    required: bool = False
    """Whether an item without this field is rejected."""

    @property
    def is_url(self) -> bool:
        """Whether the values are absolute URLs: because the settings say so, or because they are those of href or src."""
        return self.type == "url" or (self.type == "text" and _URL_ATTRIBUTE.search(self.css or self.xpath or "") is not None)

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
                raise PydanticCustomError("selector", "{found} is not a date format: {why}",
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
                    raise PydanticCustomError("language", "{found} is not a supported language for dates; "
                                              "write a code such as \"de\" or \"pt\"", {"found": repr(language)})
        return value

    @model_validator(mode="after")
    def _one_source(self) -> SelectorTable:
        self._check_source()
        if self.json_ is not None and self.data is not None:
            raise PydanticCustomError("selector", "give either `json` or `data`, not both")
        if self.format is not None and self.type != "date":
            raise PydanticCustomError("selector", "`format` can be used only with type = \"date\"")
        if self.guess and (self.type != "date" or self.format is not None):
            raise PydanticCustomError("selector", "`guess` can be used only with type = \"date\" and without `format`")
        if self.decimal is not None and self.type not in ("number", "price"):
            raise PydanticCustomError("selector", "`decimal` can be used only with type = \"number\" or \"price\"")
        if self.currency is not None and self.type != "price":
            raise PydanticCustomError("selector", "`currency` can be used only with type = \"price\"")
        if self.join is not None and self.many:
            raise PydanticCustomError("selector", "give either `join` or `many`, not both")
        return self

    def _check_source(self) -> None:
        given = [name for name in _SOURCES if getattr(self, name) is not None]
        if not given and (self.regex or self.json_ or self.data):
            return
        if len(given) != 1:
            raise PydanticCustomError("selector", "give exactly one of `css`, `xpath`, `jmes`, `header` and `page` (found {found})",
                                      {"found": ", ".join(given) or "none"})
        if (self.json_ or self.data) and self.jmes is None:
            raise PydanticCustomError("selector", "`{name}` can be used only with `jmes`, not with `{found}`",
                                      {"name": "json" if self.json_ else "data", "found": given[0]})

    @property
    def is_json(self) -> bool:
        """Whether the selector reads JSON instead of HTML or XML."""
        return self.jmes is not None or self.json_ is not None or self.data is not None


def selector(value: object) -> object:
    """Return the selector table for a text, which is XPath or CSS; return other values unchanged.

    A text is XPath if it begins with /, ./, (/ or (./.
    """
    if isinstance(value, str):
        if not value.strip():
            raise PydanticCustomError("selector", "the selector is empty; write a CSS selector or an XPath expression")
        return {"xpath" if value.lstrip("(").startswith(("/", "./")) else "css": value}
    return value


Selector = Annotated[SelectorTable, BeforeValidator(selector)]


class FieldTable(SelectorTable):
    """A field of an item: a value, a nested record or a list of records.

    The keys of a selector describe a value. `fields` describes a nested record. `each` and `fields` describe a list of records.
    """

    each: Selector | None = None
    """Selector of the elements that become a list of records. `fields` describes one record."""
    fields: dict[str, Rule] = Field(default_factory=dict)
    """Fields of a nested record, or of each record of a list."""

    def _check_source(self) -> None:
        if not self.fields:
            if self.each is not None:
                raise PydanticCustomError("selector", "`each` can be used only together with `fields`, which describes one record")
            super()._check_source()
            return
        given = sorted(self.model_fields_set - {"each", "fields", "required"})
        if given:
            raise PydanticCustomError("selector", "a field with `fields` can have no other keys than `each` and `required` "
                                      "(found {found})", {"found": ", ".join(given)})


Rule = Annotated[FieldTable, BeforeValidator(selector)]
FieldTable.model_rebuild()


class DetailsTable(Table):
    """The details page of each item: the link to the page, and the fields on the page."""

    link: Selector
    """Selector of the link to an item's details page."""
    fields: dict[str, Rule] = Field(min_length=1)
    """Fields that are extracted from the details page."""


_CHANGE = re.compile(r"(\d+(?:\.\d+)?)\s*(%?)")


def _minimum(value: object) -> object:
    """Parse a minimum change: a percentage of the old value, such as "5%", or an amount, such as 0.5.

    Returns the number, and whether the number is a percentage.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return float(value), False
    if isinstance(value, str) and (match := _CHANGE.fullmatch(value.strip())):
        return float(match[1]), bool(match[2])
    if isinstance(value, tuple):
        return value
    raise PydanticCustomError("min_change", "{found} is not a minimum change; write a percentage such as \"5%\" or an amount such as 0.5",
                              {"found": repr(value)})


MinChange = Annotated[tuple[float, bool], BeforeValidator(_minimum)]
"""The smallest difference that counts as a change, and whether it is a percentage of the old value."""


class ItemsTable(Table):
    """What an item is, which fields it has, and which differences count as a change."""

    each: Selector | None = None
    """Selector of the elements that are items. By default the whole page is one item."""
    key: tuple[str, ...] = ()
    """Names of the fields that together identify an item."""
    fields: dict[str, Rule] = Field(default_factory=dict)
    """Selectors of the fields, by name of the field."""
    details: DetailsTable | None = None
    """Fields that are extracted from the details page of each item."""
    ignore: tuple[str, ...] = ()
    """Fields that are stored, but whose differences do not count as a change."""
    min_change: dict[str, MinChange] = Field(default_factory=dict)
    """Smallest difference of a number that counts as a change, as a percentage ("5%") or as an amount (0.5)."""
    coverage: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    """Share of the items (0 to 1) that must have a field, by name of the field. A run is suspect if fewer items have the field."""

    @property
    def all_fields(self) -> dict[str, FieldTable]:
        """All fields of an item: those in `fields` and those in `details.fields`, by name."""
        return self.fields | (self.details.fields if self.details else {})

    @model_validator(mode="after")
    def _names_are_fields(self) -> ItemsTable:
        known = self.all_fields
        for option in ("key", "ignore", "min_change", "coverage"):
            for name in getattr(self, option):
                if known and name not in known:
                    raise PydanticCustomError("key", "`{option}` names {name}, which is not a field{hint}; the fields are: {known}", {
                        "option": option, "name": repr(name), "hint": nearest(name, known), "known": ", ".join(known)})
        for name in self.key:
            if name in known and known[name].type == "price":
                raise PydanticCustomError("key", "the field {name} is a price and cannot be part of `key`", {"name": repr(name)})
        for name in self.ignore:
            if name in self.key:
                raise PydanticCustomError("key", "the field {name} is part of `key` and cannot be ignored", {"name": repr(name)})
        return self


class PagesTable(Table):
    """Numbered pages of one listing, whose requests differ in a page number, an offset or a cursor.

    Pages are requested until a page has no items. With `cursor`, pages are requested until a page does not name a next page.
    """

    param: str = Field(min_length=1)
    """Name of the parameter that differs from page to page; in JSON, a path such as "query.offset"."""
    where: Literal["query", "form", "json"] = "query"
    """Where the parameter is in each request: in the query of the URL, in the form, or in the JSON body."""
    first: int = 1
    """Value of the parameter for the first page."""
    step: int = Field(1, ge=1)
    """Number that is added to the parameter for each further page: 1 for page numbers, the page size for offsets."""
    cursor: Selector | None = None
    """Selector of the value, on each page, that is sent as the parameter to request the next page."""
    state: str | None = None
    """CSS selector of the form whose hidden fields are sent with the next request, such as `__VIEWSTATE` of ASP.NET. This key
    needs `where = "form"`."""
    limit: int = Field(0, ge=0)
    """Maximum number of pages for each entry in `start`; 0 means no limit."""

    _state = field_validator("state")(check_css)

    @model_validator(mode="after")
    def _state_is_of_a_form(self) -> PagesTable:
        if self.state is not None and self.where != "form":
            raise PydanticCustomError("pages", "`state` can be used only with where = \"form\"")
        return self
