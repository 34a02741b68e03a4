"""Check imported spiders against the models of the settings, and leave out refused values."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from pipeline.cli.imports.imported import Imported, ImportedSpider
from pipeline.settings import SpiderTable

_MOST_ROUNDS = 30


def leave_out_invalid(imported: Imported) -> list[str]:
    """Leave out values that the settings refuse, and spiders without a valid start. Return how packages that are missing are installed."""
    missing: dict[str, None] = {}
    for spider in list(imported.spiders):
        problem = _valid(spider, missing)
        if problem:
            imported.spiders.remove(spider)
            imported.skip(spider.job, problem)
    return list(missing)


def _valid(spider: ImportedSpider, missing: dict[str, None]) -> str:
    """Leave out what is not valid in a spider's table. Return why the spider cannot be carried over; "" if it can."""
    checked = _without_none(spider.table)
    for attempt in range(_MOST_ROUNDS):
        try:
            SpiderTable.model_validate(checked)
        except ValidationError as error:
            checked = copy.deepcopy(checked) if attempt == 0 else checked
            problem = _remove(error, checked, spider, missing)
            if problem:
                return problem
            continue
        return ""
    return "its settings are not valid"


def _remove(error: ValidationError, checked: dict[str, Any], spider: ImportedSpider, missing: dict[str, None]) -> str:
    """Remove the first invalid value. Return why the spider cannot be carried over; "" if it can."""
    found = error.errors(include_url=False, include_input=False)[0]
    path = [step for step in found["loc"] if isinstance(step, (str, int))]
    if not path or path[0] == "start" or (path[0] == "spider" and found["type"] != "extra"):
        return found["msg"]
    depth = 2 if path[0] in ("watch", "render") and len(path) > 1 else 1
    key = [str(step) for step in path[:depth]]
    if found["type"] == "extra":  # a package is missing: the setting is right, and is only left out of this check
        missing[found["msg"]] = None
    else:
        spider.leave_out(".".join(key), found["msg"])
        _delete(spider.table, key)
    _delete(checked, key)
    return ""


def _delete(table: dict[str, Any], key: list[str]) -> None:
    """Remove the value at a path, or the innermost table that exists on the way to it; and the table that is empty afterwards."""
    inner = table.get(key[0])
    if len(key) > 1 and isinstance(inner, dict) and key[1] in inner:
        del inner[key[1]]
        if inner:
            return
    table.pop(key[0], None)


def _without_none(value: dict[str, Any]) -> dict[str, Any]:
    return {key: inner for key, inner in value.items() if inner is not None}


def problems_of(imported: Imported) -> Iterator[str]:
    """Yield a line for each job, and each key of a job, that was not carried over."""
    for job, why in imported.skipped:
        yield f"{job}: not carried over: {why}"
    for spider in imported.spiders:
        for key, why in spider.left_out:
            yield f"{spider.job} -> {spider.name}: {key}: {why}"
