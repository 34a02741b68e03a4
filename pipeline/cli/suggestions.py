"""Which command somebody means who writes a name that is none."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

_MEANT = {
    "abort": "stop", "cancel": "stop", "halt": "stop", "kill": "stop", "terminate": "stop",
    "disable": "pause", "hold": "pause", "suspend": "pause", "snooze": "pause",
    "continue": "resume", "enable": "resume", "unpause": "resume",
    "crawl": "run", "execute": "run", "exec": "run", "scrape": "run", "start": "serve", "up": "serve", "daemon": "serve", "service": "serve",
    "refresh": "reload", "reread": "reload", "restart": "reload", "hup": "reload",
    "lint": "check", "validate": "check", "verify": "check", "config": "check", "settings": "check",
    "test": "try", "preview": "try", "fetch": "try", "debug": "try",
    "log": "logs", "tail": "logs", "journal": "logs",
    "queue": "outbox", "messages": "outbox", "retry": "outbox retry", "drop": "outbox drop", "mails": "outbox", "send": "digest --send", "mute": "digest mute",
    "runs": "history", "schedule": "next", "schedules": "next", "jobs": "next", "upcoming": "next",
    "export": "items", "dump": "items", "results": "items", "changes": "items --changes", "forget": "items forget",
    "health": "status", "ps": "status", "info": "status", "list": "status", "ls": "status", "spiders": "status",
    "jar": "cookies", "cookie": "cookies", "cleanup": "prune", "clean": "prune", "gc": "prune", "vacuum": "prune",
    "create": "new", "add": "new", "generate": "suggest", "open": "url", "link": "url", "web": "url", "console": "url",
    "repair": "mend", "fix": "mend", "diagnose": "doctor", "setup": "init", "upgrade": "migrate", "autocomplete": "completion", "completions": "completion",
    "version": "--version", "help": "--help",
}
"""Names that other programs use, and the command that does this here."""


def meant(name: str, commands: Collection[str]) -> str:
    """Return the command that a name which is none probably means, with its arguments; "" if unknown.

    A name that means the same comes before one that only looks alike.
    """
    name = name.lower()
    if (found := _MEANT.get(name)) is not None and (found.startswith("-") or found.split()[0] in commands):
        return found
    if close := get_close_matches(name, commands, n=1, cutoff=0.75):
        return close[0]
    close = get_close_matches(name, _MEANT, n=1, cutoff=0.8)
    return meant(close[0], commands) if close else ""
