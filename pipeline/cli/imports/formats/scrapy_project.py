"""Spiders of a Scrapy project, with the schedules and arguments of a crontab."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.cli.imports.formats.crontab import CrontabCrawl, read_crontab
from pipeline.cli.imports.imported import Imported
from pipeline.cli.imports.source_files import read_text
from pipeline.cli.imports.translation.requests import is_secret
from pipeline.errors import SpiderError, UsageError
from pipeline.settings.fields.schedule import parse_when
from pipeline.text import clean_line

_LIMIT_S = 120.0


def read_project(folder: Path, crontab: Path | None, imported: Imported, *, settings_folder: Path, schedule: str) -> None:
    """Add the spiders of a project. It executes the project's code, in a process of its own, as `scrapy list` does.

    schedule: of spiders, if no crontab is given. Raises UsageError if the folder has no project, SpiderError if its code fails.
    """
    if not (folder / "scrapy.cfg").is_file():
        inside = sorted(each.parent for each in folder.glob("*/scrapy.cfg"))
        raise UsageError("the folder has no scrapy.cfg, so it is no Scrapy project", where=str(folder),
                         fix=f"give {inside[0]}" if inside else "give the folder that contains scrapy.cfg")
    listed = _list_spiders(folder)
    names = [str(each["name"]) for each in listed["spiders"]]
    if not names:
        raise SpiderError("the project has no spiders", where=str(folder), fix="check SPIDER_MODULES in its settings")
    starts = _starts(crontab, folder, names, {str(listed["project"]), *_deployed_as(folder)}, imported) if crontab is not None else {}
    for each in listed["spiders"]:
        name = str(each["name"])
        table = {"project": _written(folder, settings_folder), "spider": name}
        if crontab is None:
            _add(imported, name, {**table, "schedule": schedule}, each["args"])
        elif name not in starts:
            spider = _add(imported, name, table, each["args"])
            spider.leave_out("schedule", "no line of the crontab starts the spider, so it has no schedule")
        for crawls in _by_arguments(starts.get(name, ())):
            _add_crawls(imported, name, table, crawls)


def _list_spiders(folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "pipeline.workers.list_spiders", str(folder.resolve())]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LIMIT_S, check=False)  # noqa: S603  our own module
    except subprocess.TimeoutExpired as error:
        raise SpiderError(f"the spiders of the project were not loaded within {_LIMIT_S:g} s", where=str(folder), fix="try `scrapy list` there") from error
    try:
        found = json.loads(done.stdout)
    except ValueError:
        found = {"error": f"the process ended with code {done.returncode}: {clean_line(done.stderr.decode('utf-8', 'replace')[-200:])}"}
    if "error" in found:
        raise SpiderError(f"the spiders of the project cannot be loaded: {clean_line(found['error'], 300)}", where=str(folder),
                          fix="install what the project requires in the environment of this program, and try `scrapy list` there")
    return dict(found)


def _written(folder: Path, settings_folder: Path) -> str:
    """Return how `project` names the folder: relative to settings.toml if it is beside or below it."""
    place, base = folder.resolve(), settings_folder.resolve()
    return os.path.relpath(place, base) if place.is_relative_to(base) else str(place)


def _add(imported: Imported, name: str, table: dict[str, Any], declared: Sequence[str]) -> Any:
    spider = imported.spider(name, name, f"spider {name}", table)
    if declared:
        spider.leave_out("args", f"the spider declares the arguments {', '.join(declared)}; if it needs them, add args = {{ … }}")
    return spider


def _deployed_as(folder: Path) -> list[str]:
    """Return the names of the project in the sections [deploy] of scrapy.cfg, under which scrapyd knows it."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(read_text(folder / "scrapy.cfg"))
    except configparser.Error:
        return []
    return [parser[section]["project"] for section in parser.sections() if section.partition(":")[0] == "deploy" and "project" in parser[section]]


def _starts(crontab: Path, folder: Path, names: list[str], projects: set[str], imported: Imported) -> dict[str, list[CrontabCrawl]]:
    """Return the lines of a crontab that start spiders of this project, by spider; all others are skipped with the reason."""
    crawls, problems = read_crontab(read_text(crontab))
    found: dict[str, list[CrontabCrawl]] = {}
    for where, why in problems:
        imported.skip(f"{crontab.name} {where}", why)
    for crawl in crawls:
        job = f"{crontab.name} line {crawl.line} ({crawl.spider})"
        if crawl.spider not in names:
            imported.skip(job, "the project has no spider of this name")
        elif crawl.project and crawl.project not in projects:
            imported.skip(job, f"it starts a spider of the project {crawl.project}")
        elif crawl.folder and Path(os.path.expanduser(crawl.folder)).resolve() != folder.resolve() and Path(crawl.folder).name != folder.resolve().name:
            imported.skip(job, f"it starts a spider of the project in {crawl.folder}")
        else:
            found.setdefault(crawl.spider, []).append(crawl)
    return found


def _invalid(schedule: str) -> str:
    """Return why a schedule cannot be carried over; "" if it can."""
    if schedule == "@reboot":
        return "the boot of the machine starts no spider here"
    try:
        parse_when(schedule)
    except ValueError as error:
        return str(error)
    return ""


def _by_arguments(crawls: Iterable[CrontabCrawl]) -> list[list[CrontabCrawl]]:
    """Group the starts of a spider that have the same arguments."""
    groups: dict[tuple[tuple[str, str], ...], list[CrontabCrawl]] = {}
    for crawl in crawls:
        groups.setdefault(tuple(sorted(crawl.args.items())), []).append(crawl)
    return list(groups.values())


def _add_crawls(imported: Imported, name: str, table: dict[str, Any], crawls: list[CrontabCrawl]) -> None:
    """Add a spider for starts with the same arguments. It has no schedule if none of theirs can be carried over."""
    refused = {crawl.line: why for crawl in crawls if (why := _invalid(crawl.schedule))}
    schedules = [{"when": crawl.schedule, "timezone": crawl.timezone} if crawl.timezone else crawl.schedule for crawl in crawls if crawl.line not in refused]
    lines = ", ".join(str(crawl.line) for crawl in crawls)
    spider = imported.spider(name, name, f"spider {name}, crontab line {lines}", {
        **table, **({"schedule": schedules[0] if len(schedules) == 1 else schedules} if schedules else {})})
    args = {key: value for key, value in crawls[0].args.items() if not is_secret(key)}
    if args:
        spider.table["args"] = args
    for key in crawls[0].args.keys() - args.keys():
        spider.leave_out(f"-a {key}", "the argument looks like a secret, which the settings never contain; let the spider read it from the environment")
    for crawl in crawls:
        if refusal := refused.get(crawl.line):
            spider.leave_out(f"line {crawl.line}, {crawl.schedule}", refusal if schedules else
                             f"{refusal}; the spider has no schedule: add one, or start it with `pipeline run {spider.name}`")
        for key, why in crawl.left_out:
            spider.leave_out(key, why)
