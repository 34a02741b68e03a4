"""How remote text, URLs and secrets look in messages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from urllib.parse import urlsplit, urlunsplit

_SECRET_PARAMETER = re.compile(r"([?&;][^=&;#]*(?:token|key|secret|pass|pwd|sig|auth|session|code|otp)[^=&;#]*=)[^&;#]*",
                               re.IGNORECASE)
_MASK = "•••"


def clean(text: str, limit: int = 200) -> str:
    """Remote text on one line: no control or format characters, white space folded, `limit` characters at most."""
    kept = "".join(" " if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char for char in text
                   if unicodedata.category(char) not in ("Cf", "Cs", "Co", "Cn"))
    folded = " ".join(kept.split())
    return folded if len(folded) <= limit else folded[:limit - 1].rstrip() + "…"


def shown_url(url: str) -> str:
    """A URL without credentials: no user info, no fragment, values of secret-looking parameters masked."""
    try:
        parts = urlsplit(url)
        bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))
    except ValueError:
        return "(no valid URL)"
    return clean(_SECRET_PARAMETER.sub(rf"\1{_MASK}", bare))


def masked(text: str, secrets: Iterable[str]) -> str:
    """`text` with every one of `secrets` blotted out."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, _MASK)
    return text
