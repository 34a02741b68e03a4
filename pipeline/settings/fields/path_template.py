"""Path templates of downloaded files, such as "{date}/{item.category}/{name}"."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from pipeline.settings.fields.scalars import nearest

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
PLACEHOLDERS = ("name", "stem", "ext", "date", "year", "month", "day", "host")
ITEM = "item."
"""Prefix of placeholders for fields of the item, as in {item.title}."""
MOST_FOLDERS = 8
_TEXT = re.compile(r"[\w .,()+&@=\[\]-]*")
_ENDS = re.compile(r"[.\s~-]|.*[.\s]$")


def _template(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = value.split("/")
    if len(parts) > MOST_FOLDERS + 1:
        raise _problem("the path {found} has more than {most} folders", found=value, most=MOST_FOLDERS)
    for part in parts:
        text = PLACEHOLDER.sub("x", part)
        if not text:
            raise _problem("the path {found} contains an empty folder or file name; write a path such as \"{example}\"", found=value)
        if not _TEXT.fullmatch(text) or _ENDS.match(text):
            raise _problem("{part} in the path {found} is not a valid file name on every operating system; use letters, digits, spaces "
                           "and .,()+&@=[]-_, without a dot or a space at the beginning or end", found=value, part=part)
        for name in PLACEHOLDER.findall(part):
            if name not in PLACEHOLDERS and not (name.startswith(ITEM) and len(name) > len(ITEM)):
                raise _problem("{part} in the path {found} is not a placeholder{hint}; known: {known}", found=value,
                               part="{" + name + "}", hint=nearest(name, PLACEHOLDERS),
                               known=", ".join("{" + each + "}" for each in (*PLACEHOLDERS, "item.FIELD")))
    if not {"name", "ext"} & set(PLACEHOLDER.findall(parts[-1])):
        raise _problem("the file name in the path {found} must contain {needed}, so that the file keeps its extension", found=value,
                       needed="{name} or {ext}")
    return value


def _problem(text: str, *, found: str, part: str = "", hint: str = "", known: str = "", needed: str = "",
             most: int = 0) -> PydanticCustomError:
    # pydantic does not expand inserted values again, so braces in these values stay unchanged.
    return PydanticCustomError("path", text, {"found": repr(found), "part": repr(part) if part[:1] != "{" else part,
                                              "hint": hint, "known": known, "needed": needed, "most": most,
                                              "example": "{date}/{name}"})


def item_fields(template: str) -> list[str]:
    """Return the names of the item fields in a template."""
    return [name.removeprefix(ITEM) for name in PLACEHOLDER.findall(template) if name.startswith(ITEM)]


PathTemplate = Annotated[str, BeforeValidator(_template)]
