"""HTTP authentication: Basic (RFC 7617), Bearer (RFC 6750), Digest (RFC 7616)."""

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

MAX_TRIES = 3
"""Attempts at one request: without or with an old nonce, with a new one, and again when the server calls that stale."""

_SCHEME = re.compile(r"[\t ,]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?=[\t ,]|$)")
_PARAM = re.compile(r"[\t ,]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)[\t ]*=[\t ]*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"]*))", re.DOTALL)
_TOKEN68 = re.compile(r"[\t ]+[A-Za-z0-9._~+/-]+=*(?=[\t ]*(?:,|$))")
_HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}

@dataclass(frozen=True)
class Challenge:
    """A challenge of a WWW-Authenticate header. The scheme and the names of params are in lower case."""

    scheme: str
    params: dict[str, str]


def challenges_in(header: str) -> Iterator[Challenge]:
    """Parse the challenges of one or more joined WWW-Authenticate headers (RFC 9110, 11.6.1)."""
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
    """The credentials of a table `auth`. Thread-safe. trusted: the origins that get them; where: the table's name.

    Raises UsageError for a secret that is not available or cannot be sent.
    """

    def __init__(self, table: AuthTable, trusted: TrustedOrigins, where: str) -> None:
        self.scheme = table.type
        self._trusted = trusted
        self._where = where
        self._user = table.user or ""
        secret = table.token if table.type == "bearer" else table.password
        self._password = secret.reveal() if secret is not None else ""
        if any(char in self._user + self._password for char in "\r\n\0"):
            raise UsageError("user, password or token has a line break in it", where=where, fix="remove it from the setting")
        self._challenge: Challenge | None = None
        self._uses = 0
        self._lock = threading.Lock()
        self.accepted = False
        """Whether a request with these credentials was successful."""

    def serves(self, url: str) -> bool:
        return self._trusted.trust(url)

    def header(self, method: str, url: str) -> str:
        """The Authorization header for a request; "" for an untrusted origin, and for Digest without a challenge."""
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
        """Read the challenge of a 401. Returns whether to send the request again with a new `header`.

        offered: the WWW-Authenticate headers; sent: whether the request had a header; tries: how often it was sent.
        """
        if self.scheme != "digest" or tries >= MAX_TRIES:
            return False
        for challenge in challenges_in(", ".join(offered)):
            if _usable(challenge):
                if tries > 1 and sent and challenge.params.get("stale", "").lower() != "true":
                    return False  # a new nonce was not accepted, so that the credentials are wrong
                with self._lock:
                    self._challenge, self._uses = challenge, 0
                return True
        return False

    def refused(self, url: str, offered: Iterable[str]) -> LoginError:
        """The error for a 401 that remains, with its reason."""
        found = list(challenges_in(", ".join(offered)))
        schemes = sorted({challenge.scheme for challenge in found})
        if found and self.scheme not in schemes:
            return LoginError(f"{shown_url(url)} asks for {clean_line(' or '.join(schemes), 60)} authentication, not {self.scheme}",
                              where=self._where, fix="correct auth.type")
        realm = next((challenge.params["realm"] for challenge in found if challenge.params.get("realm")), "")
        said = f" (realm “{clean_line(realm, 60)}”)" if realm else ""
        what = "token" if self.scheme == "bearer" else "user name or password"
        return LoginError(f"the {what} of auth was not accepted by {shown_url(url)}{said}", where=self._where,
                          fix="correct auth.token" if self.scheme == "bearer" else "correct auth.user or auth.password")


def basic(user: str, password: str) -> str:
    """The Authorization header of Basic (RFC 7617) in UTF-8."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode(errors="surrogateescape")).decode("ascii")


def of_user_info(url: str) -> str:
    """The Authorization header for the user info in a URL (Fetch Standard, 4.6); "" for a URL without user info."""
    user_info, at, _ = url.split("/", 3)[2].rpartition("@")
    user, _, password = user_info.partition(":")
    return basic(unquote(user, errors="surrogateescape"), unquote(password, errors="surrogateescape")) if at else ""


def digest(credentials: tuple[str, str], challenge: Challenge, method: str, url: str, *, uses: int, cnonce: str) -> str:
    """The Authorization header for a Digest challenge (RFC 7616, 3.4). uses: uses of its nonce, including this one."""
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
    """Whether a challenge is supported. A client uses the first supported one (RFC 7616, 3.7); auth-int alone is not supported."""
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
    """The username field (RFC 7616, 3.4); with RFC 5987 encoding when it is not ASCII."""
    return f"username={_quoted(user)}" if user.isascii() else f"username*=UTF-8''{quote(user, safe='')}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
