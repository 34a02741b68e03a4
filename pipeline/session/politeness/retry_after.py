"""Parses Retry-After: how long a server asks for no requests."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from datetime import UTC, datetime

TRY_LATER = frozenset({429, 503})
"""The statuses that ask for a pause."""


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds until the time in Retry-After (RFC 9110, 10.2.3: seconds or a date); None if missing or invalid."""
    value = _header(headers, "Retry-After")
    if re.fullmatch(r"\d{1,9}", value):
        return float(value)
    at = http_date(value)
    if at is None:
        return None
    # Measured with the server's clock when it sends a Date, because ours may differ.
    return max(0.0, (at - (http_date(_header(headers, "Date")) or now)).total_seconds())


def http_date(value: str) -> datetime | None:
    """Parse a date header (RFC 9110, 5.6.7) to an aware datetime; None if it is invalid."""
    try:
        found = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _header(headers: Mapping[str, str], name: str) -> str:
    return next((str(value).strip() for key, value in headers.items() if key.lower() == name.lower()), "")
