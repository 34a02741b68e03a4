"""A keyring in a file, through keyring's own interface for back-ends.

PYTHON_KEYRING_BACKEND names it to a process.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

BACKEND = f"{__name__}.FileKeyring"
FILE = "TEST_KEYRING_FILE"


class FileKeyring(KeyringBackend):
    """Passwords by "service/account" in the JSON file that an environment variable names; without it the keyring is locked."""

    priority = 1

    def get_password(self, service: str, username: str) -> str | None:
        if FILE not in os.environ:
            raise KeyringLocked("locked")
        found: str | None = json.loads(Path(os.environ[FILE]).read_text("utf-8")).get(f"{service}/{username}")
        return found

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError

    def delete_password(self, service: str, username: str) -> None:
        raise NotImplementedError
