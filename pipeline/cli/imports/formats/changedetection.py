"""Watches of changedetection.io: its backup (ZIP), its data folder, or an older url-watches.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pipeline.cli.imports.formats.changedetection_rules import PROCESSOR_FILES, read_browser, read_rules
from pipeline.cli.imports.imported import Imported, ImportedSpider, ImportFormat
from pipeline.cli.imports.source_files import SourceFolder, parse_json, read_file
from pipeline.cli.imports.translation.requests import SpiderRequest, unusable_url
from pipeline.errors import UsageError
from pipeline.settings.fields.scalars import is_address

_UNITS = (("weeks", "w"), ("days", "d"), ("hours", "h"), ("minutes", "m"), ("seconds", "s"))


def read_watches(path: Path, config: Path | None, imported: Imported) -> None:
    """Add the watches of a backup, a data folder or a url-watches.json."""
    data = _read(path)
    settings = _table(data, "settings")
    watches = {**_table(data, "watching")}
    if not watches:
        raise UsageError("the file has no watches of changedetection.io", where=str(path),
                         fix="give a backup (changedetection-backup-….zip), the data folder, or url-watches.json")
    if _table(settings, "application").get("all_paused"):
        imported.note("all watches are paused in the settings of the file; the spiders have schedules")
    _read_notifications(_table(settings, "application").get("notification_urls"), imported)
    for uuid, watch in watches.items():
        if isinstance(watch, Mapping):
            _Watch(imported, str(uuid), watch, settings).convert()
        else:
            imported.skip(f"watch {uuid}", "it is not a table of keys")


def _read(path: Path) -> dict[str, Any]:
    """Return the data of the program: settings, and `watching` by UUID. Since 0.53, each watch and each tag has a file of its own."""
    if path.is_file() and path.suffix.lower() == ".json":
        found = parse_json(read_file(path), str(path))
        return found if isinstance(found, dict) else {}
    folder = SourceFolder(path)
    try:
        data: dict[str, Any] = {}
        for name in ("url-watches.json", "changedetection.json"):
            for file in folder.names(name):
                found = parse_json(folder.read(file), f"{path}: {file}")
                data.update(found if isinstance(found, dict) else {})
        watching, tags = {**_table(data, "watching")}, {**_table(_table(_table(data, "settings"), "application"), "tags")}
        for name, entries in (("watch.json", watching), ("tag.json", tags)):
            for file in folder.names(name):
                found = parse_json(folder.read(file), f"{path}: {file}")
                if isinstance(found, dict):
                    entries[file.rpartition("/")[0] or str(found.get("uuid"))] = found
        for name in PROCESSOR_FILES:
            for file in folder.names(name):
                if (uuid := file.rpartition("/")[0]) in watching:
                    watching[uuid] = {**watching[uuid], name: parse_json(folder.read(file), f"{path}: {file}")}
    finally:
        folder.close()
    settings = {**_table(data, "settings")}
    settings["application"] = {**_table(settings, "application"), "tags": tags}
    return {"settings": settings, "watching": watching}


def _read_notifications(urls: object, imported: Imported) -> None:
    """Add the recipients and the channels of Apprise URLs, which `notify` understands, too."""
    for url in urls if isinstance(urls, list) else ():
        addresses = _mail_addresses(str(url))
        for address in addresses:
            imported.recipient(address)
        if not addresses:
            imported.notify.append(imported.secret(str(url), imported.kind, "notify", f"the {str(url).partition(':')[0]} URL of Apprise in the notification settings"))


def _mail_addresses(url: str) -> list[str]:
    """Return the recipients of a mailto:// URL of Apprise; [] for any other URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return []
    if parts.scheme.lower() not in ("mailto", "mailtos"):
        return []
    given = [each for value in parse_qs(parts.query).get("to", []) for each in value.split(",")]
    given += [each for each in unquote(parts.path).split("/") if "@" in each]
    given = given or ([f"{unquote(parts.username)}@{parts.hostname}"] if parts.username and "@" not in unquote(parts.username) else [unquote(parts.username or "")])
    return [each.strip() for each in given if is_address(each)]


class _Watch:
    """One watch."""

    def __init__(self, imported: Imported, uuid: str, watch: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """settings: those of the program, for all watches."""
        self._imported = imported
        self._watch = watch
        self._application, self._requests = _table(settings, "application"), _table(settings, "requests")
        self._tags = {uuid: tag for uuid, tag in _table(self._application, "tags").items() if isinstance(tag, Mapping)}
        title = watch.get("title") or watch.get("page_title")
        self._title = str(title) if title else ""
        self._job = f"watch {uuid[:8]}" + (f" ({self._title})" if self._title else "")

    def convert(self) -> None:
        """Add a spider, or say why the watch becomes none."""
        watch = self._watch
        url = watch.get("url")
        is_source = isinstance(url, str) and url.lower().startswith("source:")
        if isinstance(url, str) and is_source:
            url = url[7:]
        if why := unusable_url(url):
            self._imported.skip(self._job, why)
            return
        spider = self._imported.spider(self._title, str(url), self._job, {"spider": "watch"})
        if is_source:
            spider.leave_out("url", "the HTML source of a page cannot be watched; its text is")
        request = SpiderRequest(self._imported, spider, str(url))
        request.headers(watch.get("headers"))
        request.method(watch.get("method"))
        request.body(watch.get("body"), key="body")
        self._proxy(request, spider)
        read_rules(watch, self._application, self._own_tags(), spider)
        read_browser(watch, self._application, spider)
        request.finish()
        self._schedule(spider)
        if names := [str(tag.get("title")) for tag in self._own_tags() if tag.get("title")]:
            spider.table["tags"] = names
        self._rest(spider)

    def _own_tags(self) -> list[Mapping[str, Any]]:
        uuids = self._watch.get("tags")
        found = [self._tags[uuid] for uuid in uuids if isinstance(uuid, str) and uuid in self._tags] if isinstance(uuids, list) else []
        old = self._watch.get("tag")
        return [*found, *({"title": each.strip()} for each in (old.split(",") if isinstance(old, str) else ()) if each.strip())]

    def _proxy(self, request: SpiderRequest, spider: ImportedSpider) -> None:
        wanted = self._watch.get("proxy") or self._requests.get("proxy")
        if not wanted or wanted == "no-proxy":
            return
        for entry in self._requests.get("extra_proxies") or ():
            if isinstance(entry, Mapping) and str(wanted).endswith(str(entry.get("proxy_name"))):
                request.proxy(entry.get("proxy_url"), "proxy")
                return
        spider.leave_out("proxy", f"the proxy {wanted!r} is not in the settings of the file; add it to [proxies]")

    def _schedule(self, spider: ImportedSpider) -> None:
        own = self._watch.get("time_between_check")
        default = self._watch.get("time_between_check_use_default", not any(own.values()) if isinstance(own, Mapping) else True)
        every = _interval(self._requests.get("time_between_check") if default else own) or _interval(self._requests.get("time_between_check")) or "3h"
        spider.table["schedule"] = f"every {every}"
        if self._watch.get("paused"):
            spider.table["schedule"] = None
            spider.leave_out("paused", "the watch is paused, so the spider has no schedule")
        limit = self._watch.get("time_schedule_limit")
        if isinstance(limit, Mapping) and limit.get("enabled"):
            spider.leave_out("time_schedule_limit", "hours and days are written in `schedule`, such as \"weekdays at 07:00 and 12:00\", or with `skip` and `quiet`")

    def _rest(self, spider: ImportedSpider) -> None:
        watch = self._watch
        for key, why in (("notification_urls", "a digest of its own with `spiders` and `notify` sends the changes of this spider alone"),
                         ("notification_title", "`subject` of a digest is the subject of the mail"),
                         ("notification_body", "`templates` of a digest change the text of the mail"),
                         ("webdriver_js_execute_code", "no script is run in the page; use `steps` of `render`"),
                         ("llm_intent", "no language model is asked"), ("llm_change_summary", "no language model is asked"),
                         ("link_to_open", "digests link to the page itself"),
                         ("notification_muted", "remove the spider from the digest"),
                         ("notification_screenshot", "with `watch.visual`, digests show pictures")):
            if watch.get(key):
                spider.leave_out(key, why)


def _interval(value: object) -> str:
    """Return a time between checks as a duration, such as "1h30m"; "" if it is zero or unknown."""
    if not isinstance(value, Mapping):
        return ""
    amounts = [(_whole(value.get(name)), unit) for name, unit in _UNITS]
    return "".join(f"{amount}{unit}" for amount, unit in amounts if amount)


def _whole(value: object) -> int:
    try:
        return max(0, int(str(value)))
    except ValueError:
        return 0


def _table(table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = table.get(name)
    return found if isinstance(found, Mapping) else {}


CHANGEDETECTION = ImportFormat(read_watches, "a backup (ZIP), the data folder or `url-watches.json` of changedetection.io")
