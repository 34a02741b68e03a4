"""Writes the parts of docs/ that follow from the code: the settings reference, and tables of what is registered.

`make docs` runs it. tests/test_docs.py fails when a page differs from what it would write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pipeline.crawl.scrapy.project.settings.setting_table import SETTING_TABLE
from pipeline.heartbeat.http.api.problem import TITLES
from pipeline.heartbeat.http.api.resources import all_routes
from pipeline.heartbeat.protocols.commands import COMMANDS
from pipeline.mail.formats.columns import table_format
from pipeline.registry import ATTACHMENT_FORMATS, BUILT_IN_SPIDERS, IMPORT_FORMATS, load
from pipeline.settings.reference import reference

DOCS = Path(__file__).parent


def pages() -> dict[Path, str]:
    """Each page that has a generated part, with the text that it should have."""
    spiders = [(f"`\"{name}\"`", spider.does, spider.item)
               for name, spider in ((name, load(found.spider_class)) for name, found in BUILT_IN_SPIDERS.items())]
    formats = [(f"`{name}`", table_format(name).description) for name in ATTACHMENT_FORMATS]
    commands = [(f"`{command.name} {command.argument}`".replace(" `", "`"), command.help) for command in COMMANDS.values()]
    imports = [(f"`{name}`", load(target).does) for name, target in IMPORT_FORMATS.items()]
    settings = [(f"`{name}`", use.in_words) for name, use in sorted(SETTING_TABLE.items())]
    routes = [(f"`{route.method} {route.path}`", route.summary, ", ".join(
        f"`{name}`" for model in (route.query, route.body) if model is not None for name in model.model_fields if name not in ("limit", "after")))
        for route in all_routes()]
    problems = [(f'<a id="{kind}"></a>`{kind}`', str(status), title) for kind, (status, title) in TITLES.items()]
    return {DOCS / "settings-reference.md": reference(),
            DOCS / "api.md": _with_table("request", routes, _with_table("problem", problems, (DOCS / "api.md").read_text("utf-8"))),
            DOCS / "scrapy-projects.md": _page_with("scrapy-projects.md", "setting", settings),
            DOCS / "spiders.md": _page_with("spiders.md", "built-in spider", spiders),
            DOCS / "digests.md": _page_with("digests.md", "format", formats),
            DOCS / "import.md": _page_with("import.md", "KIND", imports),
            DOCS / "heartbeat.md": _page_with("heartbeat.md", "command", commands)}


def _page_with(page: str, first_column: str, rows: Iterable[tuple[str, ...]]) -> str:
    """The page with these rows in its table that begins with `| first_column |`."""
    return _with_table(first_column, rows, (DOCS / page).read_text("utf-8"))


def _with_table(first_column: str, rows: Iterable[tuple[str, ...]], text: str) -> str:
    """The text of a page with these rows in its table that begins with `| first_column |`."""
    table = "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)
    text, found = re.subn(rf"^(\| {first_column} \|.*\n\|[-|]+\n)(?:\|.*\n)*", lambda head: head[1] + table, text, flags=re.MULTILINE)
    if found != 1:
        raise ValueError(f"the page has {found} tables that begin with {first_column!r}; one is expected")
    return text


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, "utf-8")
