"""Links in mails: https URLs, and addresses for unsubscribing (RFC 2369, RFC 8058)."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import SplitResult, quote, unquote, urlsplit

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from pipeline.settings.fields.scalars import is_address, nearest

RECIPIENT = "{recipient}"
"""The placeholder for the address of the recipient."""
_LONGEST = 500
"""Maximum length: a header line has at most 998 characters (RFC 5322, 2.1.1), and an address may be inserted."""
_FORBIDDEN = re.compile(r"[^!#-&(-;=?-\[\]_a-z{}~]")  # these characters must be percent-encoded, or would end the URL in a header
_EXAMPLE = "mailto:list@site.example?subject=unsubscribe"


def _https_url(value: object) -> object:
    if isinstance(value, str):
        _check_https(_parts(value), "the URL must begin with https://")
    return value


def _unsubscribe_url(value: object) -> object:
    if not isinstance(value, str):
        return value
    for name in re.findall(r"{[^{}]*}?|}", value.replace(RECIPIENT, "")):
        raise PydanticCustomError("url", "{found} is not a placeholder{hint}; known: {known}", {
            "found": name, "hint": nearest(name.strip("{}"), [RECIPIENT.strip("{}")]), "known": RECIPIENT})
    parts = _parts(value)
    if parts.scheme == "mailto":
        if RECIPIENT in parts.path:
            raise PydanticCustomError("url", "in a mailto URL, {known} may stand only after the `?`; write a URL such as {example}", {
                "known": RECIPIENT, "example": f"{_EXAMPLE}%20{RECIPIENT}"})
        if not is_address(unquote(parts.path)):
            raise PydanticCustomError("url", "the mailto URL has no e-mail address; write a URL such as {example}", {"example": _EXAMPLE})
        return value
    _check_https(parts, "the URL for one-click unsubscribing must use https (RFC 8058, 3.1); mailto: is possible, too")
    if RECIPIENT in parts.netloc or RECIPIENT in parts.fragment:
        raise PydanticCustomError("url", "{known} may stand only in the path or in the query of the URL", {"known": RECIPIENT})
    return value


def _parts(url: str) -> SplitResult:
    if (found := _FORBIDDEN.search(url)) is not None:
        raise PydanticCustomError("url", "the URL contains the character {found}; write {encoded} instead",
                                  {"found": repr(found[0]), "encoded": quote(found[0], errors="replace")})
    if len(url) > _LONGEST:
        raise PydanticCustomError("url", "the URL has {length} characters; the maximum is {most}", {"length": len(url), "most": _LONGEST})
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise PydanticCustomError("url", "not a URL: {why}", {"why": str(error)}) from error
    return parts


def _check_https(parts: SplitResult, message: str) -> None:
    if parts.scheme != "https" or not parts.hostname:
        raise PydanticCustomError("url", "{message}", {"message": message})


HttpsUrl = Annotated[str, Field(json_schema_extra={"format": "uri"}), BeforeValidator(_https_url)]
UnsubscribeUrl = Annotated[str, Field(json_schema_extra={"format": "uri"}), BeforeValidator(_unsubscribe_url)]
