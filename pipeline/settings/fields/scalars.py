"""Types of single values in settings.toml: durations, sizes, URLs, time zones, addresses."""

from __future__ import annotations

import difflib
import re
from ipaddress import ip_address, ip_network
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from pipeline.settings.fields.secret import Secret

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
TOO_LONG = "duration_too_long"
"""The type of the error for a duration that is one, but too long."""
_LONGEST_S = 36525 * 86400.0
"""A longer time before or after now may be none that a computer can name."""
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)")
_BYTES = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BYTES |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_LONG_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|m|h|d|w|sec|second|min|minute|hr|hour|day|week)s?")
_LONG_UNITS = {"sec": "s", "second": "s", "min": "m", "minute": "m", "hr": "h", "hour": "h", "day": "d", "week": "w"} | {unit: unit for unit in _SECONDS}
_ABBREVIATION = re.compile(r"[A-Z]{2,5}([+-]\d+)?")
"""Matches abbreviations such as CEST, and offsets such as UTC+2, which name no time zone with its clock changes."""
_SHORT_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kKmMgGtT])(?:[bB]|i)?")
_ADDRESS = re.compile(r"[^@\s<>,;]+@[^@\s<>,;]+")
SECRET_WORDS = re.compile(r"pass(word|wd|phrase)?$|secret|token$|api[_-]?key|pin$", re.IGNORECASE)
"""Matches the names of keys, fields and headers whose values are secrets. Such a value is rejected if settings.toml contains it in
plain text."""


def nearest(name: str, known: Any) -> str:
    """Return a hint such as " (did you mean 'office'?)", or "" if no known name is similar."""
    close = difflib.get_close_matches(name, [str(k) for k in known], n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def duration_s(value: object) -> object:
    """Return the seconds of a duration such as "30s", "15m", "2h", "7d" or "1h30m".

    Raises PydanticCustomError if the value is not a duration.
    A number without a unit is rejected, because the unit would be a guess.
    """
    if isinstance(value, str) and value and not _DURATION.sub("", value).strip():
        seconds = sum(float(n) * _SECONDS[unit] for n, unit in _DURATION.findall(value))
        if seconds > _LONGEST_S:
            raise PydanticCustomError(TOO_LONG, "{found} is longer than 100 years; write a shorter duration, such as \"3650d\"", {"found": repr(value)})
        return seconds
    if isinstance(value, str) and (match := _LONG_DURATION.fullmatch(value.strip().lower())):
        raise PydanticCustomError("duration", "{found} is not a duration; write {meant}",
                                  {"found": repr(value), "meant": f'"{match[1]}{_LONG_UNITS[match[2]]}"'})
    raise PydanticCustomError("duration", "{found} is not a duration; write a duration such as \"30s\", \"15m\", \"2h\" or \"7d\"",
                              {"found": repr(value)})


def size_bytes(value: object) -> object:
    """Return the number of bytes of a size such as "20MB" or "1GiB". Raises PydanticCustomError."""
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        return int(float(match[1]) * _BYTES[match[2]])
    if isinstance(value, str) and (match := _SHORT_SIZE.fullmatch(value.strip())):
        unit = match[2].upper().replace("K", "k")
        raise PydanticCustomError("size", "{found} is not a size; write {meant}", {"found": repr(value), "meant": f'"{match[1]}{unit}B"'})
    raise PydanticCustomError("size", "{found} is not a size; write a size such as \"500kB\", \"20MB\" or \"1GiB\"",
                              {"found": repr(value)})


Duration = Annotated[float, BeforeValidator(duration_s),
                     WithJsonSchema({"type": "string", "pattern": r"^(\d+(\.\d+)?(ms|s|m|h|d|w))+$"})]
Size = Annotated[int, BeforeValidator(size_bytes),
                 WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*[kKMGT]?i?B$"})]


class Table(BaseModel):
    """A table of settings.toml. Unknown keys are errors, and values cannot be changed.

    Error messages do not contain the input, which may be a secret.
    """

    # The validators are built at the first validation. Child processes receive validated settings and never need them.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=True, defer_build=True)


def _http_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError as error:
        raise PydanticCustomError("url", "not a URL: {why}", {"why": str(error)}) from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise PydanticCustomError("url", "{found} is not an http(s) URL{hint}", {"found": repr(value), "hint": _url_hint(value)})
    return value


def _url_hint(value: str) -> str:
    """Return how to correct a text that is not an http(s) URL, such as "; write https://site.example/news"."""
    if match := re.fullmatch(r"(https?)(?::?/*)//?([\w-]+(?:\.[\w-]+)+(?::\d+)?(?:/\S*)?)", value.strip(), re.IGNORECASE):
        return f"; write {match[1].lower()}://{match[2]}"
    if re.fullmatch(r"[\w-]+(?:\.[\w-]+)+(?::\d+)?(?:/\S*)?|localhost(?::\d+)?(?:/\S*)?", value.strip()):
        scheme = "http" if is_loopback(urlsplit(f"//{value.strip()}").hostname or "") else "https"
        return f"; write {scheme}://{value.strip()}"
    return "; write a URL such as https://site.example/news"


HttpUrl = Annotated[str, Field(json_schema_extra={"format": "uri"}), BeforeValidator(
    lambda value: _http_url(value) if isinstance(value, str) else value)]


def _zone(value: object) -> object:
    if isinstance(value, str) and value not in available_timezones():
        raise PydanticCustomError("timezone", "no time zone named {found}{hint}; use an IANA name such as \"Europe/Berlin\"",
                                  {"found": repr(value), "hint": "" if _ABBREVIATION.fullmatch(value) else nearest(value, available_timezones())})
    return value


ZoneName = Annotated[str, BeforeValidator(_zone)]


def is_address(text: str) -> bool:
    """Return whether a text is an e-mail address, with or without a display name."""
    bare = re.fullmatch(r"[^<>\r\n]*<([^<>]+)>|([^<>\r\n]+)", text.strip())
    return bool(bare and _ADDRESS.fullmatch((bare[1] or bare[2]).strip()))


def _address(value: object) -> object:
    if isinstance(value, str) and not is_address(value):
        several = len(re.findall(r"\S@\S", value)) > 1
        raise PydanticCustomError("address", "{found} is not an e-mail address; write {meant}", {
            "found": repr(value), "meant": 'each address as an entry of its own: ["one@site.example", "two@site.example"]' if several
            else 'an address such as "me@site.example"'})
    return value


Address = Annotated[str, BeforeValidator(_address)]


def is_loopback(host: str) -> bool:
    """Return whether `host` is a loopback address, or a name for it such as localhost."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() in ("localhost", "ip6-localhost")


def is_local(host: str) -> bool:
    """Return whether `host` is an address of this machine or of a private network, or a name that only a local network knows."""
    try:
        address = ip_address(host)
    except ValueError:
        return "." not in host or host.lower().rstrip(".").endswith((".local", ".lan", ".home", ".internal", ".home.arpa", ".localhost"))
    return address.is_private or address.is_link_local


def https_or_loopback(value: str | Secret | None) -> str | Secret | None:
    """Validate and return a URL that may receive secrets: https, or http on this machine only.

    A Secret is returned without validation, because its URL is read, and checked, only when the URL is used.
    """
    if isinstance(value, str):
        parts = urlsplit(value)
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise PydanticCustomError("url", "the URL must use https, because it is a secret: anyone who knows it can send false reports")
    return value


def _network(value: object) -> object:
    if isinstance(value, str):
        try:
            return str(ip_network(value, strict=False))
        except ValueError as error:
            raise PydanticCustomError("network", "{found} is not a network; write a network such as \"10.0.0.0/8\" or \"fd00::/8\"",
                                      {"found": repr(value)}) from error
    return value


Network = Annotated[str, BeforeValidator(_network)]


class AlsoAccepts:
    """Annotates a type whose validator also accepts other values, such as true for the defaults of a table, in the JSON schema.

    schema: the JSON schema of the other values.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [self._schema, handler(core_schema)]}
