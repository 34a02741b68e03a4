"""Jobs of urlwatch: urls.yaml, with one job in each document, and urlwatch.yaml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.cli.imports.formats.reports import read_reports
from pipeline.cli.imports.formats.watch_filters import FilterChain
from pipeline.cli.imports.imported import Imported, ImportedSpider, ImportFormat
from pipeline.cli.imports.source_files import read_yaml
from pipeline.cli.imports.translation.requests import SpiderRequest, unusable_url
from pipeline.errors import UsageError
from pipeline.text import shown_url

_WITHOUT_EFFECT = frozenset(["name", "url", "navigate", "kind", "note", "index_number", "guid", "loop", "filter", "filters", "enabled", "tags", "user_visible_url", "use_browser"])

_BLOCKED = {"image": "images", "font": "fonts", "media": "media", "stylesheet": "styles"}

LEFT_OUT: dict[str, str] = {
    "max_tries": "`after` in [alerts] says after how many failed runs a mail is sent",
    "retries": "",
    "diff_tool": "digests show the changed lines themselves; no program is run",
    "diff_filter": "digests can be filtered by `keywords` and `where` only",
    "diff_filters": "digests can be filtered by `keywords` and `where` only",
    "differ": "digests show the changed lines",
    "compared_versions": "a page is compared with its last version",
    "treat_new_as_changed": "the first version of a page is reported as new",
    "ignore_connection_errors": "a page that fails is tried again, and `after` in [alerts] says after how many failed runs a mail is sent",
    "ignore_timeout_errors": "as ignore_connection_errors: set `after` in [alerts]",
    "ignore_http_error_codes": "a page with such a status fails its run, and is never reported as changed; set `after` in [alerts]",
    "ignore_too_many_redirects": "as ignore_connection_errors: set `after` in [alerts]",
    "ignore_incomplete_reads": "an incomplete page is never compared; its run fails",
    "additions_only": "digests show added and removed lines",
    "deletions_only": "digests show added and removed lines",
    "contextlines": "digests choose the lines around a change themselves",
    "is_markdown": "text is compared as text",
    "monospace": "digests have a layout of their own",
    "no_redirects": "redirects are followed",
    "initialization_url": "for pages that need a session, use [spiders.NAME.login] or `pipeline cookies import`",
    "initialization_js": "no script is run in the page; use `steps` of `render`",
    "init_script": "no script is run in the page; use `steps` of `render`",
    "evaluate": "no script is run in the page; use `steps` of `render`",
    "wait_for_function": "no script is run in the page; use `wait_for` of `render`",
    "wait_for_url": "use `wait_for` of `render` with a selector of the page",
    "connect_over_cdp": "`remote` in [browser] names a browser on another machine",
    "user_data_dir": "the browser has the cookies of the spider's session; use `pipeline cookies import`",
    "switches": "the browser is started with fixed arguments",
    "ignore_default_args": "the browser is started with fixed arguments",
    "stealth": "the browser does not disguise itself",
    "browser": "pages are rendered in Chromium",
    "http_client": "there is one HTTP client",
    "impersonate": "the program does not disguise itself as a browser",
    "ignore_dh_key_too_small": "weak keys are refused",
    "suppress_errors": "remove the spider from the digest, or set `problems = false` there",
    "suppress_error_ended": "[alerts] report the end of a problem, too",
    "suppress_repeated_errors": "[alerts] report a problem once, and its end",
    "empty_as_transient": "an empty page is compared; set `watch.part` so that a page without this part is rejected",
    "hook_data": "hooks.py is not run",
    "stderr": "",
}
"""What is said about keys that have no counterpart, of urlwatch and of webchanges."""


def read_jobs(path: Path, config: Path | None, imported: Imported) -> None:
    """Add the jobs of urls.yaml or jobs.yaml."""
    defaults = read_reports(config, imported) if config is not None else {}
    jobs = [job for document in read_yaml(path) for job in (document if isinstance(document, list) else [document])]
    if not any(isinstance(job, Mapping) for job in jobs):
        raise UsageError(f"the file has no jobs of {imported.kind}", where=str(path), fix="each job is a YAML document, separated by a line ---")
    for number, job in enumerate(jobs, 1):
        if isinstance(job, Mapping):
            _Job(imported, number, {str(key): value for key, value in job.items()}, defaults).convert()
        else:
            imported.skip(f"job {number}", "it is not a table of keys")


class _Job:
    """One job. keys: what has been read is removed, so that the rest is what could not be carried over."""

    def __init__(self, imported: Imported, number: int, keys: dict[str, Any], defaults: Mapping[str, Any]) -> None:
        kind = "browser" if "navigate" in keys or keys.get("use_browser") else "shell" if "command" in keys else "url"
        for group in (kind, "all"):
            found = defaults.get(group)
            keys = {**(found if isinstance(found, Mapping) else {}), **keys}
        self._imported = imported
        self._keys = {name: value for name, value in keys.items() if value is not None}
        title = self._keys.get("name")
        self._title = str(title) if title else ""
        self._job = f"job {number}" + (f" ({self._title})" if self._title else "")
        self._kind = kind

    def convert(self) -> None:
        """Add a spider, or say why the job becomes none."""
        url = self._keys.get("url", self._keys.get("navigate"))
        if "command" in self._keys and url is None:
            self._imported.skip(self._job, "it runs a command, and spiders only fetch pages; write a spider in Python for what the command fetches")
            return
        if why := unusable_url(url):
            self._imported.skip(self._job, why)
            return
        spider = self._imported.spider(self._title, str(url), self._job, {"spider": "watch"})
        request = SpiderRequest(self._imported, spider, str(url))
        self._request(request, spider)
        if self._kind == "browser":
            self._render(spider)
        chain = FilterChain(spider)
        for key in ("filter", "filters"):
            chain.add(self._keys.get(key), key)
        chain.finish(self._imported)
        request.finish()
        self._rest(spider)

    def _request(self, request: SpiderRequest, spider: ImportedSpider) -> None:
        take = self._keys.pop
        request.headers(take("headers", None))
        request.cookies(take("cookies", None))
        request.params(take("params", None))
        request.body(take("data", None), as_json=bool(take("data_as_json", False)))
        request.method(take("method", None))
        for key in ("http_proxy", "https_proxy", "proxy"):
            request.proxy(take(key, None), key)
        if referer := take("referer", None):
            request.headers({"Referer": str(referer)})
        if isinstance(credentials := take("http_credentials", None), str):
            request.credentials(*credentials.rpartition("://")[2].partition("@")[0].partition(":")[::2])
        self._connection(spider)

    def _connection(self, spider: ImportedSpider) -> None:
        take = self._keys.pop
        if agent := take("useragent", None):
            spider.table["user_agent"] = str(agent)
        if any([take("ssl_no_verify", False), take("ignore_https_errors", False)]):  # a list, so that both are taken
            spider.table["insecure_tls"] = True
        if any([take("ignore_cached", False), take("no_conditional_request", False)]):
            spider.table["revalidate"] = False
        timeout = take("timeout", None)
        if isinstance(timeout, (int, float)) and timeout > 0:
            spider.table["timeout"] = f"{timeout:g}s"
        elif timeout is not None:
            spider.leave_out("timeout", "every request has a time limit; the default is 60s")
        if encoding := take("encoding", None):
            spider.table["encoding"] = str(encoding)
        for key in ("delay", "same_site_delay"):
            if isinstance(delay := take(key, None), (int, float)) and delay > 0:
                spider.table["delay"] = f"{delay:g}s"
        if isinstance(retries := take("retries", None), int):
            spider.table["retries"] = min(max(retries, 0), 20)

    def _render(self, spider: ImportedSpider) -> None:
        table: dict[str, Any] = {}
        if waits := list(self._waits(spider)):
            table["wait_for"] = waits
        blocked = self._keys.pop("block_elements", None)
        if isinstance(blocked, list):
            table["block"] = sorted({_BLOCKED[str(each)] for each in blocked if str(each) in _BLOCKED})
            for each in blocked:
                if str(each) not in _BLOCKED:
                    spider.leave_out("block_elements", f"{each} cannot be blocked")
        browser = self._keys.pop("use_browser", None)
        if isinstance(browser, str) and not browser.startswith("chrom"):
            spider.leave_out("use_browser", "pages are rendered in Chromium")
        spider.table["render"] = table or "browser"

    def _waits(self, spider: ImportedSpider) -> Iterator[str]:
        """Yield what is waited for before the page is taken."""
        until = self._keys.pop("wait_until", None)
        if until == "networkidle":
            yield "networkidle"
        elif until not in (None, "load"):
            spider.leave_out("wait_until", f"{until!r} has no counterpart; the page's load event is waited for")
        for key in ("wait_for", "wait_for_selector"):
            found = self._keys.pop(key, None)
            for each in found if isinstance(found, list) else [found]:
                selector = each.get("selector") if isinstance(each, Mapping) else each
                if isinstance(each, Mapping) and each.get("state") not in (None, "visible", "attached"):
                    spider.leave_out(key, f"the state {each['state']!r} cannot be waited for")
                elif isinstance(selector, (int, float)):
                    yield f"{selector:g}s"
                elif isinstance(selector, str) and selector.startswith(("/", "(/", "xpath=")):
                    spider.leave_out(key, "only CSS selectors can be waited for")
                elif selector:
                    yield str(selector)
        if isinstance(pause := self._keys.pop("wait_for_timeout", None), (int, float)) and pause > 0:
            yield f"{pause:g}s"

    def _rest(self, spider: ImportedSpider) -> None:
        tags = self._keys.get("tags")
        if tags:
            spider.table["tags"] = [str(tag) for tag in (tags if isinstance(tags, (list, tuple, set)) else [tags])]
        if self._keys.get("enabled") is False:
            spider.table["schedule"] = None
            spider.leave_out("enabled", "the job is disabled, so the spider has no schedule")
        if (kind := self._keys.get("kind")) not in (None, "url", "browser"):
            spider.leave_out("kind", f"{kind} is a job of hooks.py, which is not run; the page is fetched as it is")
        if note := self._keys.get("note"):
            spider.leave_out("note", f"it is only kept here: {note}")
        if visible := self._keys.get("user_visible_url"):
            spider.leave_out("user_visible_url", f"digests link to the page itself, not to {shown_url(str(visible))}")
        for key, value in self._keys.items():
            if key not in _WITHOUT_EFFECT and value is not False:
                spider.leave_out(key, LEFT_OUT.get(key) or "it has no counterpart")


URLWATCH = ImportFormat(read_jobs, "`urls.yaml` of urlwatch", config="urlwatch.yaml")
WEBCHANGES = ImportFormat(read_jobs, "`jobs.yaml` of webchanges", config="config.yaml")
