"""Parses the Retry-After header: how long a client should wait before the next request."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from datetime import UTC, datetime

TRY_LATER = frozenset({429, 503})
"""The HTTP statuses with which a server asks the client to wait."""


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return how many seconds to wait according to the Retry-After header (RFC 9110, 10.2.3).

    Return None if the header is missing or invalid. The header contains a number of seconds or a date. now: the current time,
    used if the response has no Date header.
    """
    value = _header(headers, "Retry-After")
    if re.fullmatch(r"\d{1,9}", value):
        return float(value)
    at = http_date(value)
    if at is None:
        return None
    # The wait is counted from the time in the response's Date header, if there is one, because the server's clock may differ from this
    # machine's.
    return max(0.0, (at - (http_date(_header(headers, "Date")) or now)).total_seconds())


def http_date(value: str) -> datetime | None:
    """Return the aware datetime for the value of a date header (RFC 9110, 5.6.7); None if the value is invalid."""
    try:
        found = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _header(headers: Mapping[str, str], name: str) -> str:
    return next((str(value).strip() for key, value in headers.items() if key.lower() == name.lower()), "")
