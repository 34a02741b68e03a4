"""Addresses as the settings write them: with or without a display name."""

from __future__ import annotations

import re


def name_and_address(written: str) -> tuple[str, str]:
    """Return the display name and the address of an address in the settings.

    The display name needs no quotes there, even if it contains commas: `Doe, Jane <jane@example.com>`.
    """
    name, opened, rest = written.strip().rpartition("<")
    if not opened:
        return "", rest.strip()
    name = name.strip()
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    return name, rest.removesuffix(">").strip()


def bare_address(address: str) -> str:
    """Return an address without its display name, with the domain in ASCII (IDNA).

    `Me <me@example.com>` becomes `me@example.com`.
    """
    _, found = name_and_address(address)
    local, _, domain = found.rpartition("@")
    try:
        return f"{local}@{domain.encode('idna').decode('ascii')}" if local else found
    except UnicodeError:
        return found
