"""Find mail accounts in files of the yagmail library, and convert them to tables for settings.toml."""

from __future__ import annotations

import json
import re
from pathlib import Path

USER_FILE = ".yagmail"
"""The file in the home folder from which yagmail.SMTP() reads the user name. The password is in the keyring, under "yagmail"."""
OAUTH2_FILE = "oauth2_creds.json"
"""The name of the file with OAuth2 credentials in the examples of yagmail's README (yagmail.SMTP(oauth2_file=…))."""
_ADDRESS = re.compile(r"[\w.!#$%&'*+=?^{|}~-]+@[\w.-]+")
_CLIENT_ID = re.compile(r"[\w.@-]+")


def offers(home: Path) -> list[tuple[Path, str]]:
    """Return the path of each yagmail file in the folder `home`, and settings tables for the same account.

    Files that cannot be read, and files without an account, are left out.
    """
    found = [(home / USER_FILE, _by_keyring(_text(home / USER_FILE))), (home / OAUTH2_FILE, _by_oauth2(_text(home / OAUTH2_FILE)))]
    return [(path, toml) for path, toml in found if toml]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _by_keyring(user: str) -> str:
    if user and "@" not in user:
        user += "@gmail.com"  # yagmail does the same
    if not _ADDRESS.fullmatch(user):
        return ""
    return f'[mail]\nprovider = "gmail"\nuser = "{user}"\npassword = {{ keyring = "yagmail/{user}" }}\n'


def _by_oauth2(text: str) -> str:
    try:
        found = json.loads(text)
    except ValueError:
        return ""
    values = found if isinstance(found, dict) else {}
    user, client_id = str(values.get("email_address", "")), str(values.get("google_client_id", ""))
    if not (_ADDRESS.fullmatch(user) and _CLIENT_ID.fullmatch(client_id) and "google_refresh_token" in values):
        return ""
    secret = f'{{ file = "~/{OAUTH2_FILE}", key = "google_%s" }}'
    return (f'[mail]\nprovider = "gmail"\nuser = "{user}"\n\n[mail.oauth2]\nclient_id = "{client_id}"\n'
            f'client_secret = {secret % "client_secret"}\nrefresh_token = {secret % "refresh_token"}\n')
