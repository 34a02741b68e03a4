"""HTTP authentication: Basic (RFC 7617), Bearer (RFC 6750) and Digest (RFC 7616)."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote, unquote

from pipeline.errors import LoginError, UsageError
from pipeline.session.trusted_origins import TrustedOrigins
from pipeline.settings import AuthTable
from pipeline.text import clean_line, shown_url
from pipeline.urls import target_of

MAX_TRIES = 10
"""The maximum number of attempts at one request.

The first attempt uses no nonce or an old nonce, the second a new nonce. Each further attempt follows a response that says stale=true:
if a server accepts each nonce only once, a page or file that is fetched at the same time may have used the new nonce first.
"""
MAX_UNEXPLAINED = 4
"""The maximum number of attempts with credentials that the server has accepted before, if the responses do not say stale=true."""

_SCHEME = re.compile(r"[\t ,]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?=[\t ,]|$)")
_PARAM = re.compile(r"[\t ,]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)[\t ]*=[\t ]*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"]*))", re.DOTALL)
_TOKEN68 = re.compile(r"[\t ]+[A-Za-z0-9._~+/-]+=*(?=[\t ]*(?:,|$))")
_HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}

@dataclass(frozen=True)
class Challenge:
    """One challenge in a WWW-Authenticate header. The scheme and the parameter names are in lower case."""

    scheme: str
    params: dict[str, str]


def challenges_in(header: str) -> Iterator[Challenge]:
    """Yield each challenge in the value of WWW-Authenticate. Several headers may be joined with commas (RFC 9110, 11.6.1)."""
    at = 0
    while (scheme := _SCHEME.match(header, at)) is not None:
        at = scheme.end()
        params: dict[str, str] = {}
        if token68 := _TOKEN68.match(header, at):
            at = token68.end()
        while (param := _PARAM.match(header, at)) is not None:
            params[param[1].lower()] = param[3] if param[2] is None else re.sub(r"\\(.)", r"\1", param[2])
            at = param.end()
        yield Challenge(scheme[1].lower(), params)


class HttpAuth:
    """The user name and password, or the token, of an `auth` table in the settings. Thread-safe.

    trusted: the origins that receive the credentials; where: the name of the table, for error messages. Raises UsageError if
    a secret is not available or contains a line break.
    """

    def __init__(self, table: AuthTable, trusted: TrustedOrigins, where: str) -> None:
        self.scheme = table.type
        self._trusted = trusted
        self._where = where
        self._user = table.user or ""
        secret = table.token if table.type == "bearer" else table.password
        self._password = secret.reveal() if secret is not None else ""
        if any(char in self._user + self._password for char in "\r\n\0"):
            raise UsageError("the user, password or token contains a line break", where=where, fix="remove the line break from the setting")
        self._challenge: Challenge | None = None
        self._uses = 0
        self._lock = threading.Lock()
        self.accepted = False
        """Whether the server has accepted these credentials at least once."""

    def serves(self, url: str) -> bool:
        return self._trusted.trust(url)

    def header(self, method: str, url: str) -> str:
        """Return the value of the Authorization header for a request; "" means that the request is sent without the header.

        The result is "" for an untrusted origin, and for Digest authentication before the server has sent a challenge.
        """
        if not self.serves(url):
            return ""
        if self.scheme == "bearer":
            return f"Bearer {self._password}"
        if self.scheme == "basic":
            return basic(self._user, self._password)
        with self._lock:
            if self._challenge is None:
                return ""
            self._uses += 1
            challenge, uses = self._challenge, self._uses
        return digest((self._user, self._password), challenge, method, url, uses=uses, cnonce=secrets.token_hex(16))

    def take(self, offered: Iterable[str], *, sent: bool, tries: int) -> bool:
        """Read the challenges of a 401 response. Return whether to send the request again with a new header.

        The caller gets the new header by calling header(). offered: the WWW-Authenticate headers; sent: whether the request had
        an Authorization header; tries: how many times the request has been sent so far.
        """
        if self.scheme != "digest" or tries >= MAX_TRIES:
            return False
        for challenge in challenges_in(", ".join(offered)):
            if _usable(challenge):
                is_stale = challenge.params.get("stale", "").lower() == "true"
                if sent and not is_stale and tries >= (MAX_UNEXPLAINED if self.accepted else 2):
                    return False  # the server rejected a new nonce, so the credentials are wrong, or do not give access to this URL
                with self._lock:
                    self._challenge, self._uses = challenge, 0
                return True
        return False

    def refused(self, url: str, offered: Iterable[str]) -> LoginError:
        """Return the error to raise if the last attempt was answered with 401; its message says why."""
        found = list(challenges_in(", ".join(offered)))
        schemes = sorted({challenge.scheme for challenge in found})
        if found and self.scheme not in schemes:
            return LoginError(f"{shown_url(url)} requires {clean_line(' or '.join(schemes), 60)} authentication, not {self.scheme}",
                              where=self._where, fix="correct auth.type")
        realm = next((challenge.params["realm"] for challenge in found if challenge.params.get("realm")), "")
        said = f" (realm “{clean_line(realm, 60)}”)" if realm else ""
        what = "token" if self.scheme == "bearer" else "user name or password"
        return LoginError(f"{shown_url(url)} did not accept the {what} of the `auth` setting{said}", where=self._where,
                          fix="correct auth.token" if self.scheme == "bearer" else "correct auth.user or auth.password")


def basic(user: str, password: str) -> str:
    """Return the value of an Authorization header for Basic authentication, in UTF-8 (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode(errors="surrogateescape")).decode("ascii")


def of_user_info(url: str) -> str:
    """Return the Authorization header for the user name and password in a URL (Fetch Standard, 4.6).

    Return "" if the URL has none.
    """
    user_info, at, _ = url.split("/", 3)[2].rpartition("@")
    user, _, password = user_info.partition(":")
    return basic(unquote(user, errors="surrogateescape"), unquote(password, errors="surrogateescape")) if at else ""


def digest(credentials: tuple[str, str], challenge: Challenge, method: str, url: str, *, uses: int, cnonce: str) -> str:
    """Return the Authorization header for a Digest challenge (RFC 7616, 3.4).

    uses: how often the nonce of the challenge has been used, including this request.
    """
    user, password = credentials
    params = challenge.params
    algorithm = params.get("algorithm", "MD5")
    hashed = _hash(algorithm)
    uri = target_of(url)
    realm, nonce, count = params.get("realm", ""), params.get("nonce", ""), f"{uses:08x}"
    first = hashed(f"{user}:{realm}:{password}")
    if algorithm.lower().endswith("-sess"):
        first = hashed(f"{first}:{nonce}:{cnonce}")
    second = hashed(f"{method}:{uri}")
    has_qop = "qop" in params
    response = hashed(f"{first}:{nonce}:{count}:{cnonce}:auth:{second}" if has_qop else f"{first}:{nonce}:{second}")
    by_hash = params.get("userhash", "").lower() == "true"
    fields = [_username(hashed(f"{user}:{realm}") if by_hash else user), f"realm={_quoted(realm)}", f"nonce={_quoted(nonce)}",
              f"uri={_quoted(uri)}", f"response={_quoted(response)}"]
    if "algorithm" in params:
        fields.append(f"algorithm={algorithm}")
    if "opaque" in params:
        fields.append(f"opaque={_quoted(params['opaque'])}")
    if has_qop:
        fields += ["qop=auth", f"nc={count}", f"cnonce={_quoted(cnonce)}"]
    elif algorithm.lower().endswith("-sess"):
        fields.append(f"cnonce={_quoted(cnonce)}")
    if by_hash:
        fields.append("userhash=true")
    return "Digest " + ", ".join(fields)


def _usable(challenge: Challenge) -> bool:
    """Return whether this client supports a challenge. The first supported challenge is used (RFC 7616, 3.7).

    A challenge that offers only the quality of protection auth-int is not supported.
    """
    params = challenge.params
    qops = [qop.strip().lower() for qop in params.get("qop", "auth").split(",")]
    return (challenge.scheme == "digest" and bool(params.get("nonce")) and "realm" in params and "auth" in qops
            and _algorithm(params.get("algorithm", "MD5")) in _HASHES
            and not any(char in value for value in params.values() for char in "\r\n\0"))


def _algorithm(name: str) -> str:
    return name.upper().removesuffix("-SESS")


def _hash(algorithm: str) -> Callable[[str], str]:
    name = _HASHES[_algorithm(algorithm)]
    return lambda text: hashlib.new(name, text.encode(), usedforsecurity=False).hexdigest()


def _username(user: str) -> str:
    """Return the username parameter (RFC 7616, 3.4). A user name that is not ASCII is encoded by RFC 5987."""
    return f"username={_quoted(user)}" if user.isascii() else f"username*=UTF-8''{quote(user, safe='')}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
