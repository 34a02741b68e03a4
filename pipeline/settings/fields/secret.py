"""References to secrets: environment variable, file, value in a JSON file, or keyring entry."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from pipeline.errors import UsageError

SecretKind = Literal["env", "file", "keyring"]
_MOST_BYTES = 1_000_000
"""A file with a secret is not larger. A device such as /dev/zero has no end."""
_FORMS = '{ env = "NAME" }, { file = "path" } or { keyring = "service/account" }'


class Secret:
    """A reference to a secret. `reveal` reads the secret; the repr shows only the reference.

    kind: where the secret is: "env", "file" or "keyring". place: the name of the environment variable, the path of the file, or
    "service/account" in the keyring. base: the folder from which a relative path starts; a path that starts with `~` starts at the
    home folder. key: if not "", the file contains a JSON object, and the secret is the value of this key.
    """

    __slots__ = ("base", "key", "kind", "place")

    def __init__(self, kind: SecretKind, place: str, base: str = "", *, key: str = "") -> None:
        self.kind = kind
        self.place = place
        self.base = base
        self.key = key

    def __repr__(self) -> str:
        return f"Secret({self.kind}={self.place!r}{f', key={self.key!r}' if self.key else ''})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self.kind, self.place, self.key) == (other.kind, other.place, other.key)

    def __hash__(self) -> int:
        return hash((self.kind, self.place, self.key))

    @property
    def reference(self) -> str:
        """The reference as a text without the secret, such as "env:SLACK_URL"."""
        return f"{self.kind}:{self.place}" + (f"#{self.key}" if self.key else "")

    @property
    def path(self) -> Path:
        """The path of the file, if the secret is in a file."""
        return Path(self.base, os.path.expanduser(self.place))  # unlike Path.expanduser(), keeps ~NAME of an unknown user

    @property
    def can_be_replaced(self) -> bool:
        """Whether the program can write a new value.

        This is possible if the secret is in a file that contains nothing else.
        """
        return self.kind == "file" and not self.key

    def reveal(self) -> str:
        """Read and return the secret. Line ends at the end of a file are removed.

        Raises UsageError if the secret cannot be read.
        """
        if self.kind == "env":
            value = os.environ.get(self.place)
            if value is None:
                raise UsageError(f"the environment variable {self.place} is not set",
                                 fix="set the variable, or use { file = … } in the settings file")
            return value
        if self.kind == "keyring":
            return _from_keyring(self.place)
        try:
            text = _content(self.path).decode()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise UsageError(f"the secret cannot be read from the file {self.path}: {reason}",
                             fix="create the file (mode 0600), or change the setting") from error
        return self._from_json(text) if self.key else text.rstrip("\r\n")

    def _from_json(self, text: str) -> str:
        try:
            found = json.loads(text)
        except ValueError:
            found = None  # the exception is dropped, because its text would show a part of the file
        value = found.get(self.key) if isinstance(found, dict) else None
        if not isinstance(value, str):
            raise UsageError(f"the file {self.path}, which should contain the secret, is not a JSON object with a string at the key {self.key!r}",
                             fix="correct the file, or the `key` of the secret")
        return value

    @classmethod
    def parse(cls, value: object) -> Self:
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            raise PydanticCustomError("secret", f"secrets are not allowed in the settings file; use {_FORMS}")
        table = dict(value) if isinstance(value, dict) else {}
        key = table.pop("key", "") if "file" in table else ""
        if len(table) == 1 and isinstance(key, str):
            (kind, place), = table.items()
            if kind in get_args(SecretKind) and isinstance(place, str) and place:
                if kind == "keyring" and not all(place.rpartition("/")):
                    raise PydanticCustomError("secret", 'a keyring secret is written as "service/account", such as "yagmail/me@gmail.com"')
                return cls(kind, place, key=key)
        raise PydanticCustomError("secret", f"a secret must be written as {_FORMS}")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(cls.parse)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        one = {"type": "string"}
        return {"oneOf": [{"type": "object", "properties": {kind: one} | ({"key": one} if kind == "file" else {}),
                           "required": [kind], "additionalProperties": False} for kind in get_args(SecretKind)]}


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {_MOST_BYTES:,} bytes")
    return content


def _from_keyring(place: str) -> str:
    """Return the password of "service/account" in the keyring of the desktop or of the system."""
    service, _, account = place.rpartition("/")
    try:
        import keyring  # noqa: PLC0415  an extra
        from keyring.errors import KeyringError  # noqa: PLC0415
    except ImportError as error:
        raise UsageError("secrets in the keyring need the package keyring, which is not installed",
                         fix="run `pip install 'crawl-to-inbox[keyring]'`, or use { env = … } or { file = … }") from error
    try:
        value = keyring.get_password(service, account)
    except KeyringError as error:
        raise UsageError(f"the keyring cannot be read: {type(error).__name__}",
                         fix="unlock the keyring; on a machine without a desktop, use { env = … } or { file = … }") from error
    if value is None:
        raise UsageError(f"the keyring has no password for the account {account!r} of the service {service!r}",
                         fix=f"store the password with `keyring set {service} {account}`")
    return value
