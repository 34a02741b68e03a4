"""OAuth2 for mail: an access token for a refresh token (RFC 6749, 6), and the refresh token a person grants once.

The token server is asked at each login; nothing is cached, so nothing is stale.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from pipeline.errors import MailError, UsageError
from pipeline.settings import OAuth2Table, Secret
from pipeline.store.files.file_store import FileStore
from pipeline.text import clean_line

_ANSWER_BYTES = 65_536
TIMEOUT_S = 30.0
_LOG_IN = "log in with `pipeline mail login`"


@dataclass(frozen=True)
class TokenServer:
    """Where tokens come from. client_secret: asked for each time; None for a client that has none."""

    url: str
    client_id: str
    client_secret: Callable[[], str] | None = None
    timeout_s: float = TIMEOUT_S

    def ask(self, grant: Mapping[str, str]) -> dict[str, Any]:
        """The answer to one grant. Raises MailError; neither secrets nor tokens are in its words."""
        secret = self.client_secret() if self.client_secret is not None else None
        form = {**grant, "client_id": self.client_id} | ({"client_secret": secret} if secret is not None else {})
        try:
            with requests.post(self.url, data=form, headers={"Accept": "application/json"}, timeout=self.timeout_s,
                               allow_redirects=False, stream=True) as answer:
                found = json.loads(answer.raw.read(_ANSWER_BYTES, decode_content=True))
        except requests.RequestException as error:
            raise self._error(f"the token server cannot be asked: {type(error).__name__}", "check the network and token_url") from error
        except (OSError, ValueError) as error:
            raise self._error(f"the token server answered {answer.status_code}, and no JSON", "check token_url") from error
        if isinstance(found, dict) and answer.status_code == 200 and _is_token(found.get("access_token")):
            return found
        said = found if isinstance(found, dict) else {}
        why = clean_line(f"{said.get('error', 'no token')} {said.get('error_description', '')}", 200)
        for private in (*grant.values(), secret):
            why = why.replace(private, "****") if private else why
        raise self._error(f"the token server answered {answer.status_code}: {why}", _LOG_IN)

    def _error(self, what: str, fix: str) -> MailError:
        return MailError(what, where="mail.oauth2", fix=fix, retry=True)


def server_of(table: OAuth2Table) -> TokenServer:
    return TokenServer(table.token_url, table.client_id, table.client_secret.reveal if table.client_secret else None)


def access_token(table: OAuth2Table) -> str:
    """A fresh access token. A new refresh token that comes with it goes into its file. Raises MailError, UsageError."""
    try:
        refresh_token = table.refresh_token.reveal()
    except UsageError as error:
        raise UsageError(error.what, where="mail.oauth2", fix=_LOG_IN) from error
    found = server_of(table).ask({"grant_type": "refresh_token", "refresh_token": refresh_token})
    newer = found.get("refresh_token", refresh_token)
    if _is_token(newer) and newer != refresh_token and table.refresh_token.kind == "file":
        keep(table.refresh_token, str(newer))
    token: str = found["access_token"]
    return token


def keep(secret: Secret, token: str) -> Path:
    """Write a refresh token where the settings say it is, mode 0600. Raises UsageError, MailError."""
    if secret.kind != "file":
        raise UsageError("a refresh token can only be written to a file", where="settings.toml: mail.oauth2.refresh_token",
                         fix="set refresh_token = { file = \"mail-token\" }")
    path = Path(secret.base, secret.place)
    try:
        FileStore(path.parent).write(path.name, f"{token}\n".encode())
    except OSError as error:
        raise MailError(f"the refresh token cannot be written: {error.strerror}", where=str(path),
                        fix="check the folder's owner, mode and free space", retry=True) from error
    return path


def _is_token(found: object) -> bool:
    return isinstance(found, str) and found.isascii() and found.isprintable() and " " not in found and found != ""
