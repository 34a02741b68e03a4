"""Check the browser of spiders with `render`, `login.browser` or `watch.visual`.

What cannot work in it is reported, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.cli.settings_check.remark import Remark
from pipeline.errors import PipelineError
from pipeline.settings import RenderTable, Settings, SpiderTable
from pipeline.settings.fields.browser_values import is_browser_css, wait_s
from pipeline.text import span_for_people


def check(settings: Settings) -> Iterator[Remark]:
    """Yield a remark for each problem. No browser is started, and none on another machine is asked."""
    using = [name for name, spider in settings.spiders.items() if spider.uses_browser]
    if not using:
        if settings.browser.model_fields_set and all(spider.is_built_in for spider in settings.spiders.values()):
            yield Remark("browser", "has no effect, because no spider has `render`, `login.browser` or `watch.visual`", "remove the table", suspicious=True)
        return
    devices: Mapping[str, Mapping[str, Any]] | None = None
    for name, spider in settings.spiders.items():
        yield from _parts(f"spiders.{name}", spider)
        for key, table in _tables(f"spiders.{name}", spider):
            yield from _times(key, table, spider)
            if table.device is not None:
                devices = _known_devices() if devices is None else devices
                yield from _device(key, table, devices)
    yield from _program(settings, using)


def _program(settings: Settings, using: list[str]) -> Iterator[Remark]:
    """Yield a remark if the browser is missing, and for what a browser on another machine does not do. using: the names of the spiders that need it."""
    from pipeline.session.browser.process.installed import find_path
    from pipeline.session.browser.process.program import BrowserProgram, is_this_machine
    try:
        program = BrowserProgram.of(settings.browser, settings.data_dir)
        if program.remote is None:
            find_path(program)
    except PipelineError as error:
        where = error.where if error.where.startswith("browser") else "browser"
        yield Remark(where, f"{error.what} (spiders.{', spiders.'.join(using[:3])}{', …' if len(using) > 3 else ''})", error.fix)
        return
    if program.remote is not None:
        if settings.browser.executable is not None:
            yield Remark("browser.executable", "has no effect, because the browser of `remote` is used", "remove one of both", suspicious=True)
        if is_this_machine(program.remote):
            return
        for name in using:
            if settings.spiders[name].proxy not in (None, "environment"):  # the environment may name none
                yield Remark(f"spiders.{name}.proxy", "the browser on another machine cannot use the proxy of the spider, so its runs fail",
                             "use a browser on this machine, or remove `proxy` from the spider")
        yield Remark("browser.remote", "the browser on another machine cannot use the guard proxy of this program: private addresses are recognized only in URLs, "
                     "and the spiders' headers, `ca_file` and `insecure_tls` have no effect on what it loads",
                     "let it run in a network without access to private addresses, or use a browser on this machine", suspicious=True)


def _tables(key: str, spider: SpiderTable) -> Iterator[tuple[str, RenderTable]]:
    """Yield each table `render` of a spider with its key."""
    if spider.render is not None:
        yield f"{key}.render", spider.render
    for place, start in enumerate(spider.start):
        if isinstance(start.render, RenderTable):
            yield f"{key}.start[{place}].render", start.render


def _times(key: str, table: RenderTable, spider: SpiderTable) -> Iterator[Remark]:
    """Yield an error if a page is waited for so long that it is never complete within `timeout`."""
    waits = [*table.wait_for, *(step.wait for step in table.steps for _ in range(step.times) if step.wait is not None)]
    total_s = sum(wait_s(wait) or 0.0 for wait in waits)
    if total_s >= spider.timeout:
        yield Remark(f"{key}.wait_for" if not any(step.wait for step in table.steps) else f"{key}.steps",
                     f"the page is waited for {span_for_people(total_s)}, but it fails after `timeout` ({span_for_people(spider.timeout)})",
                     "wait less, or increase `timeout` of the spider")


def _known_devices() -> Mapping[str, Mapping[str, Any]]:
    from pipeline.session.browser.process.installed import (
        known_devices,  # only settings with a device start Playwright's driver
    )
    return known_devices()


def _device(key: str, table: RenderTable, devices: Mapping[str, Mapping[str, Any]]) -> Iterator[Remark]:
    from pipeline.session.browser.emulation import Emulation
    try:
        Emulation.of(table).options(devices, "")
    except PipelineError as error:
        yield Remark(f"{key}.device", error.what, error.fix)


def _parts(key: str, spider: SpiderTable) -> Iterator[Remark]:
    """Yield a warning if a picture shows more than the settings say, because no picture can be taken of what they select."""
    watch = spider.watch
    why = "`watch.part` is missing" if watch.part is None else "" if watch.part_is_element else "`watch.part` selects no element"
    for place, table in _tables(key, spider):
        if table.screenshot == "part" and why:
            yield Remark(f"{place}.screenshot", f"shows the whole page, because {why}", "add a CSS selector or XPath as watch.part", suspicious=True)
    has_pdf = any(table.pdf for _, table in _tables(key, spider))
    if spider.spider != "watch" or (watch.visual is None and not has_pdf):
        return
    shown = " and ".join(filter(None, ("the picture" if watch.visual is not None else "", "the PDF file" if has_pdf else "")))
    if watch.visual is not None and why and watch.part is not None:
        yield Remark(f"{key}.watch.visual", f"compares pictures of the whole page, because {why}", "write a CSS selector or XPath as watch.part", suspicious=True)
    for number, selector in enumerate(watch.without):
        if not is_browser_css(selector):
            yield Remark(f"{key}.watch.without[{number}]", f"{selector!r} is left out of the text, but not of {shown}, because browsers do not know this selector",
                         "find the elements by a class, an id or an attribute", suspicious=True)
