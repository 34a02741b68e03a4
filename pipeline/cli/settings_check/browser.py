"""Check that the browser exists which spiders with `render`, `login.browser` or `watch.visual` need."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.cli.settings_check.remark import Remark
from pipeline.errors import PipelineError
from pipeline.settings import Settings


def check(settings: Settings) -> Iterator[Remark]:
    """Yield a remark for each problem. No browser is started, and none on another machine is asked."""
    using = [name for name, spider in settings.spiders.items() if spider.uses_browser]
    if not using:
        if settings.browser.model_fields_set and all(spider.is_built_in for spider in settings.spiders.values()):
            yield Remark("browser", "has no effect, because no spider has `render`, `login.browser` or `watch.visual`", "remove the table", suspicious=True)
        return
    from pipeline.session.browser.installed import find_path
    from pipeline.session.browser.program import BrowserProgram
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
        yield Remark("browser.remote", "the browser on another machine cannot use the guard proxy of this program: private addresses are recognized only in URLs, "
                     "and the spiders' proxies, headers, `ca_file` and `insecure_tls` have no effect on what it loads",
                     "let it run in a network without access to private addresses, or use a browser on this machine", suspicious=True)
