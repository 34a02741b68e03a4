"""Generate docs/settings-reference.md: every key with its type, default and description.

`make docs` writes the file. The description of a key is the docstring below its field.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from collections.abc import Iterator
from textwrap import dedent
from typing import Any, get_args

from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from pipeline.registry import load
from pipeline.settings.fields.scalars import Table
from pipeline.settings.fields.schedule import ScheduleTable
from pipeline.settings.models import (
    ai,
    archive,
    cluster,
    digest,
    display,
    downloads,
    extraction,
    heartbeat,
    login,
    mail,
    render,
    request,
    root,
    runs,
    spider,
    watch,
)

SECTIONS: tuple[tuple[str, type[Table]], ...] = (
    ("[pipeline]", root.PipelineTable), ("[pipeline.s3]", root.S3Table), ("[heartbeat]", heartbeat.HeartbeatTable), ("[mail]", mail.MailTable),
    ("[mail.oauth2]", mail.OAuth2Table), ("[mail.dkim]", mail.DkimTable), ("[proxies.NAME]", root.ProxyTable),
    ("[alerts]", mail.AlertsTable), ("[browser]", render.BrowserTable), ("[archive]", archive.ArchiveTable), ("[cluster]", cluster.ClusterTable), ("[retention]", root.RetentionTable), ("[logs]", root.LogsTable),
    ("[spiders.NAME]", spider.SpiderTable), ("[spiders.NAME.login]", login.LoginTable),
    ("[[spiders.NAME.login.steps]]", login.LoginStepTable), ("[spiders.NAME.login.expired]", login.ExpiredTable),
    ("[spiders.NAME.cookies]", login.CookiesTable), ("[spiders.NAME.items]", extraction.ItemsTable),
    ("[spiders.NAME.items.details]", extraction.DetailsTable), ("[spiders.NAME.pages]", extraction.PagesTable),
    ("[spiders.NAME.render]", render.RenderTable), ("[[spiders.NAME.render.steps]]", render.StepTable),
    ("[spiders.NAME.watch]", watch.WatchTable), ("[spiders.NAME.watch.visual]", watch.VisualTable), ("[spiders.NAME.downloads]", downloads.DownloadsTable), ("[spiders.NAME.archive]", archive.SpiderArchiveTable), ("[spiders.NAME.display]", display.DisplayTable),
    ("[spiders.NAME.banned]", spider.BannedTable), ("[spiders.NAME.retry]", runs.RetryTable),
    ("[digests.NAME]", digest.DigestTable), ("[[digests.NAME.groups]]", digest.GroupTable), ("[ai]", ai.AiTable), ("[demo]", root.DemoTable),
    ("Requests", request.RequestTable), ("HTTP authentication", request.AuthTable), ("Schedules", ScheduleTable),
    ("Selectors", extraction.SelectorTable), ("Fields of items", extraction.FieldTable), ("Retention rules", root.KeepTable))
"""The tables with their headings, in the order of the page."""

_INTRODUCTION = """\
# Settings reference

Every key of `settings.toml`. This page is generated from the models (`make docs`); [settings.md](settings.md) explains the file
and has examples. Durations are written as `"30s"`, `"15m"`, `"2h"` or `"7d"`, sizes as `"500kB"`, `"20MB"` or `"1GiB"`. A secret
is `{ env = "NAME" }` or `{ file = "path" }`. Relative paths start at the folder of `settings.toml`. A key without a default is
optional, unless it says *required*. `[calendars]` has lists of days by name, for the `skip` of schedules.
"""

_WORDS = {
    "str": "text", "bool": "true or false", "int": "whole number", "float": "number", "Any": "any value", "Duration": "duration",
    "Size": "size", "Secret": "secret", "HttpUrl": "URL", "HttpsUrl": "URL", "UnsubscribeUrl": "URL", "Address": "e-mail address", "ZoneName": "time zone", "Network": "network",
    "PathTemplate": "path template", "Selector": "selector", "Rule": "selector", "Schedules": "schedule, or list of schedules",
    "Start": "URL or request", "Pairs": "table or list of pairs", "ConditionText": "condition", "QuietHours": "hours", "ModelSummaryKey": "true, false or a question", "Intent": "sentence", "Names": "text, or list of texts",
    "CatchUp": "true, false or duration", "ProcessCount": "`\"auto\"` or whole number, 1 to 16", "JsonField": "JSON value", "MinChange": "percentage or number", "Day": "date",
    "DayTexts": "list of days", "GoodDirections": "`\"up\"`, `\"down\"` or table of them", "Proxy": "URL, table or list of them", "KeepTable": "retention rule", "RequestTable": "request",
    "Render": "`\"browser\"` or table", "Visual": "true, false or table", "Archive": "true, false, `\"changed\"` or table", "Blocked": "text",
    "ElementSelector": "CSS selector", "WaitCondition": "text", "Key": "text", "Viewport": "text", "LanguageTag": "text", "BrowserZone": "time zone"}
"""What the reference calls each type. A table is called table, and a Literal is shown as its values."""

_UNITS_S = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_UNITS_BYTES = (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3), ("B", 1))


def reference() -> str:
    """Return the page as Markdown."""
    parts = [_INTRODUCTION]
    transports = [(f"[mail.{key}]", load(table)) for key, table in mail.transport_tables().items()]
    for heading, table in (*SECTIONS, *transports):
        about = f"{' '.join((table.__doc__ or '').split())}\n\n" if table.__doc__ else ""
        parts.append(f"## {_code(heading) if heading.startswith('[') else heading}\n\n{about}"
                     f"| key | type | default | description |\n|---|---|---|---|\n{''.join(_rows(table))}")
    return "\n".join(parts)


def _rows(table: type[Table]) -> Iterator[str]:
    described = descriptions(table)
    inherited = _inherited(table)
    for name, field in table.model_fields.items():
        if name not in inherited and not field.exclude:
            annotation, text = described[name]
            words, default = _type(annotation, table), _default(field, annotation)
            yield f"| `{field.alias or name}` | {words}{_range(field, ast.unparse(annotation))} | {default} | {text.replace('|', chr(92) + '|')} |\n"


def _inherited(table: type[Table]) -> set[str]:
    """Return the keys of `table` that are not listed under this table, because another table lists them.

    A field of an item accepts all keys of a selector, which the page lists only under "Selectors".
    """
    return set(extraction.SelectorTable.model_fields) if table is extraction.FieldTable else set()


@functools.cache
def descriptions(table: type[Table]) -> dict[str, tuple[ast.expr, str]]:
    """Return the annotation and the description of each field of a table, by name of the field.

    The description is the docstring below the field, or "" if there is none.
    Inherited fields are included.
    """
    found: dict[str, tuple[ast.expr, str]] = {}
    for kind in reversed(table.__mro__):
        if not issubclass(kind, Table) or kind is Table:
            continue
        (definition,) = ast.parse(dedent(inspect.getsource(kind))).body
        assert isinstance(definition, ast.ClassDef)
        for node, after in zip(definition.body, [*definition.body[1:], None], strict=True):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                below = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
                text = below if isinstance(below, str) else ""
                found[node.target.id] = (node.annotation, " ".join(text.split()))
    return found


def _type(node: ast.expr, table: type[Table]) -> str:
    if isinstance(node, ast.BinOp):
        options = [_type(side, table) for side in (node.left, node.right) if not _is_none(side)]
        return " or ".join(dict.fromkeys(options)).replace("true or false or", "true, false or")
    if isinstance(node, ast.Subscript):
        outer = ast.unparse(node.value)
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if outer == "Literal":
            return ", ".join(_code(f'"{ast.literal_eval(value)!s}"') for value in inner)
        if outer == "Annotated":
            return _type(inner[0], table)
        return f"{'list' if outer == 'tuple' else 'table'} of {_plural(_type(inner[0] if outer == 'tuple' else inner[1], table))}"
    name = ast.unparse(node)
    if name in _WORDS:
        return _WORDS[name]
    found = next(vars(module)[name] for module in (sys.modules[kind.__module__] for kind in table.__mro__) if name in vars(module))
    return "table" if isinstance(found, type) else ", ".join(f'`"{value}"`' for value in get_args(found))


def _plural(words: str) -> str:
    """Return the plural of a type, such as "texts" for "text". A list of values is unchanged."""
    if words.startswith("`"):
        return words
    return " or ".join(f"{word}es" if word.endswith("s") else f"{word}s" for word in words.split(" or "))


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def default_text(table: type[Table], name: str) -> str:
    """Return the default of a field as TOML; "" if there is none."""
    field = table.model_fields[name]
    return "" if field.is_required() else _default(field, descriptions(table)[name][0]).strip("`")


def _range(field: FieldInfo, annotation: str) -> str:
    low = next((bound.ge for bound in field.metadata if isinstance(bound, Ge)), None)
    high = next((bound.le for bound in field.metadata if isinstance(bound, Le)), None)
    if low is None:
        return ""
    return f", {low} to {high}" if high is not None else f", at least {_toml(low, annotation)}"


def _default(field: FieldInfo, annotation: ast.expr) -> str:
    if field.is_required():
        return "*required*"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value in ("", (), {}) or (isinstance(value, Table) and not isinstance(value, root.KeepTable)):
        return ""
    return _code(_toml(value, ast.unparse(annotation)))


def _toml(value: Any, annotation: str) -> str:
    if isinstance(value, root.KeepTable):
        parts = [f'age = {_toml(value.age, "Duration")}' if value.age is not None else "",
                 f"count = {value.count}" if value.count is not None else ""]
        return f"{{ {', '.join(filter(None, parts))} }}"
    if isinstance(value, bool):
        return str(value).lower()
    if "Duration" in annotation:
        return _with_unit(value, _UNITS_S)
    if "Size" in annotation:
        return _with_unit(value, _UNITS_BYTES)
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(entry, '') for entry in value)}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _with_unit(value: float, units: tuple[tuple[str, int], ...]) -> str:
    unit, size = next(((unit, size) for unit, size in units if value and value % size == 0), units[-1])
    return f'"{value / size:g}{unit}"'


def _code(text: str) -> str:
    return f"`{text}`"
