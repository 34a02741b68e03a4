"""Seeded, random damage to valid settings files, as text and value by value.

    python -m tests.fuzz --rounds 20000 --seed 1
"""

from __future__ import annotations

import argparse
import json
import math
import random
import tempfile
import tomllib
from copy import deepcopy
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from pipeline.errors import SettingsError
from pipeline.settings import load

ROOT = Path(__file__).parent.parent
ODD: list[Any] = ["", " ", "x", "\0", "\x1b[2J", "a" * 5000, "-1", "0", "0s", "-5m", "99999999999999999999d", "every 0s", "every",
                  "* * * * *", "61 25 32 13 8", "http://", "http://[::1", "http://x:99999/", "ftp://x/", "//", "{env}", "%s%n",
                  "../../etc/passwd", "[", "(", "(a+)+$", "::attr(", "//*[", "é", "\u202e", "me@", "@", "<>", "tls", "utf-99",
                  0, -1, 1, 10**30, 1.5, math.inf, math.nan, True, False, [], [[]], [1, "a"], [{}], {}, {"env": ""}, {"env": 1},
                  {"env": "NOT_SET"}, {"file": "/"}, {"file": "x", "env": "y"}, {"a": {"b": {"c": 1}}}, {"css": "["},
                  {"xpath": "//*["}, {"jmes": "a["}, {"regex": "("}, {"css": "a", "type": "x"}, date(2026, 1, 1),
                  datetime(2026, 1, 1, tzinfo=UTC)]
SPLINTERS = ["[", "]", "[[", "=", '"', "'", "\n", "#", "{", "}", ",", ".", "\0", "\ufeff", "é", "\\", "'''", '"""', "[spiders]",
             "[pipeline]\n", "x = 1\n", "= ", "1e999", "0x", "true"]


def examples() -> list[str]:
    """The shipped file, and every table of docs/settings.md."""
    pages = (ROOT / "docs" / "settings.md").read_text("utf-8").split("```toml\n")[1:]
    return [(ROOT / "settings.toml").read_text("utf-8"), *(page.partition("```")[0] for page in pages)]


def broken(rng: random.Random, text: str) -> bytes:
    """A file with some of it changed."""
    if rng.random() < 0.25:
        return _splintered(rng, text).encode("utf-8", "replace") if rng.random() < 0.9 else rng.randbytes(200)
    table = tomllib.loads(text)
    for _ in range(rng.randint(1, 4)):
        _change(rng, table)
    return "".join(f"{_key(name)} = {_toml(value)}\n" for name, value in table.items()).encode("utf-8", "replace")


def _splintered(rng: random.Random, text: str) -> str:
    for _ in range(rng.randint(1, 5)):
        at, length = rng.randrange(len(text)), rng.choice((0, 1, 1, 5, 40))
        text = text[:at] + rng.choice(("", *SPLINTERS)) + text[at + length:] + " "
    return text


def _change(rng: random.Random, table: dict[str, Any]) -> None:
    """Change one value somewhere: another one, another place's, none, or one too many."""
    places = list(_places(table)) or [(table.setdefault("pipeline", {"max_runs": 2}), "max_runs")]
    where, key = rng.choice(places)
    what = rng.random()
    if what < 0.6:
        where[key] = deepcopy(rng.choice(ODD))  # else the next change is one of all that follow
    elif what < 0.75:
        other, its = rng.choice(places)
        where[key] = json.loads(json.dumps(other[its], default=str))
    elif what < 0.85:
        del where[key]
    elif isinstance(where, dict):
        where[rng.choice((str(key)[:-1], "x", f"{key}s", "", "a b", "é", "file", "__class__", "\x1b[2J\nforged"))] = deepcopy(rng.choice(ODD))


def _places(value: Any) -> Any:
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key
        yield from _places(value[key])


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value.replace("\x7f", ""))
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(name)} = {_toml(entry)}" for name, entry in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return value.isoformat() if isinstance(value, date) else str(value)


def _key(name: object) -> str:
    return json.dumps(str(name))


def try_one(folder: Path, content: bytes) -> str:
    """Load it; what was said about it, "" for nothing. Raises whatever is not ours."""
    path = folder / "settings.toml"
    path.write_bytes(content)
    try:
        load(path)
    except SettingsError as error:
        text = str(error)
    else:
        return ""
    assert text
    assert all(line.startswith((str(path), path.name)) for line in text.split("\n")), text
    assert text.replace("\n", "").isprintable(), text
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    texts, refused = examples(), 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(wanted.rounds):
            rng = random.Random(f"{wanted.seed} {number}")
            content = broken(rng, rng.choice(texts))
            try:
                refused += bool(try_one(Path(folder), content))
            except Exception:
                print(f"--seed {wanted.seed}, round {number}:\n{content.decode('utf-8', 'replace')}")
                raise
    print(f"{wanted.rounds} files: {refused} refused with their reasons, {wanted.rounds - refused} good, no traceback")


if __name__ == "__main__":
    main()
