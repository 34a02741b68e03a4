"""Starts the browser of a session, with all of its traffic through the guard proxy, and ends it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from pipeline.errors import BrowserError
from pipeline.session.browser.guard_proxy import GuardProxy
from pipeline.session.browser.process.profile import Profile, delete_left_profiles
from pipeline.session.browser.process.program import BrowserProgram, is_this_machine
from pipeline.session.browser.process.renderer_memory import RendererMemory, script_arguments
from pipeline.text import clean_line

if TYPE_CHECKING:
    from playwright.async_api import Browser, Playwright

END_S = 5.0
"""How long, in seconds, the browser and the driver may take to end."""
QUIET = ("--disable-crash-reporter", "--disable-domain-reliability", "--no-pings", "--disable-default-apps", "--disable-gpu")
"""Arguments against traffic and processes that no page needs, besides those that Playwright gives itself."""
_DECISIVE = re.compile(r"\]\s*\[?.*(:FATAL:|error while loading|not found|: ERROR:(?!.*(dbus|crashpad)))")
"""A line of the browser's output that says why it ended."""
_URL = re.compile(r"\b(?:https?|wss?)://\S+")
"""A URL in a message. That of a browser on another machine may contain a password or a token."""
_SANDBOX = ("No usable sandbox", "SUID sandbox", "Operation not permitted")

logger = logging.getLogger(__name__)


class RunningBrowser:
    """A browser and the driver that controls it.

    guard: its only way to the network; None for a browser on another machine. is_remote: whether another program has started it. memory: limits
    the memory of its pages; None if another program has started it.
    """

    def __init__(self, playwright: Playwright, browser: Browser, guard: GuardProxy | None, profile: Profile | None,
                 memory: RendererMemory | None = None) -> None:
        self.playwright = playwright
        self.browser = browser
        self.guard = guard
        self.is_remote = profile is None
        self.memory = memory
        self._profile = profile
        self._has_ended = False
        self._limits: set[asyncio.Timeout] = set()
        browser.on("disconnected", lambda browser: self.note_end())

    def note_end(self) -> None:
        """Record that the browser has ended, or no longer does what it is told."""
        self._has_ended = True
        for limit in self._limits:
            with contextlib.suppress(RuntimeError):  # it has just expired by itself
                limit.reschedule(0)
        self._limits.clear()

    @contextlib.asynccontextmanager
    async def until_end(self, limit: asyncio.Timeout) -> AsyncIterator[None]:
        """While the `with` block runs, let a timeout expire when the browser ends. The calls of the driver may then never return."""
        if not self.works:
            limit.reschedule(0)
        else:
            self._limits.add(limit)
        try:
            yield
        finally:
            self._limits.discard(limit)

    @property
    def works(self) -> bool:
        return not self._has_ended and self.browser.is_connected()

    async def end(self) -> None:
        """End the browser and the driver, whatever state they are in."""
        if self.memory is not None:
            await self.memory.stop()
        await _within(END_S, self.browser.close())
        await _within(END_S, self.playwright.stop())
        if self._profile is not None:
            await asyncio.to_thread(self._profile.delete)


async def start(program: BrowserProgram, guard: GuardProxy, *, has_proxy: bool) -> RunningBrowser:
    """Start a browser, or connect to one. Raises BrowserError.

    guard: the started proxy through which all connections of the browser go. A browser on another machine cannot use it. has_proxy:
    whether the guard itself uses a proxy, so that nothing may be requested without the guard.
    """
    from playwright.async_api import async_playwright  # noqa: PLC0415  crawls without a browser do not load it
    _drop_news_of_killed_drivers(asyncio.get_running_loop())
    playwright = await async_playwright().start()
    try:
        if program.remote is not None:
            return await _connect(playwright, program, program.remote, guard, has_proxy=has_proxy)
        return await _launch(playwright, program, guard)
    except BaseException:
        await asyncio.shield(_within(END_S, playwright.stop()))
        raise


def _drop_news_of_killed_drivers(loop: asyncio.AbstractEventLoop) -> None:
    """Let a loop not print that nobody has read how the connection to a driver ended. Playwright keeps this in a future that it does not read itself.

    RunningBrowser notices the end by itself.
    """
    before = loop.get_exception_handler()
    if isinstance(before, _LoopErrors):
        return
    loop.set_exception_handler(_LoopErrors(before))


class _LoopErrors:
    """The exception handler of a loop that has run a driver. before: the one that it had; None means the default one."""

    def __init__(self, before: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None) -> None:
        self._before = before

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "never retrieved" in str(context.get("message")) and str(context.get("exception")).startswith("Connection closed"):
            logger.debug("the driver of the browser was ended: %s", context["exception"])
        elif self._before is not None:
            self._before(loop, context)
        else:
            loop.default_exception_handler(context)


async def _launch(playwright: Playwright, program: BrowserProgram, guard: GuardProxy) -> RunningBrowser:
    from playwright.async_api import Error  # noqa: PLC0415
    path = program.path(playwright.chromium.executable_path)
    await asyncio.to_thread(delete_left_profiles, program.folder)
    profile = await asyncio.to_thread(Profile, program.folder)
    is_root = os.geteuid() == 0
    if is_root:
        logger.info("the browser runs without its sandbox, because this program runs as root")
    try:
        browser = await playwright.chromium.launch(
            executable_path=profile.start_script(path), headless=True, chromium_sandbox=not is_root, env={**profile.environment()},
            artifacts_dir=profile.folder / "files", args=[*QUIET, *script_arguments(program.page_bytes), *guard.browser_arguments()], proxy={"server": guard.server, "bypass": "<-loopback>"},
            timeout=program.start_timeout_s * 1000, handle_sigint=False, handle_sigterm=False, handle_sighup=False)
    except Error as error:
        await asyncio.to_thread(profile.delete)
        raise _not_started(error, path, program) from error
    except BaseException:
        await asyncio.to_thread(profile.delete)
        raise
    memory = RendererMemory(browser, page_bytes=program.page_bytes, run_bytes=program.memory_bytes)
    return RunningBrowser(playwright, browser, guard, profile, memory)


async def _connect(playwright: Playwright, program: BrowserProgram, remote: str, guard: GuardProxy, *, has_proxy: bool) -> RunningBrowser:
    from playwright.async_api import Error  # noqa: PLC0415
    is_here = is_this_machine(remote)
    if has_proxy and not is_here:
        raise BrowserError("a browser on another machine cannot use the proxy of the spider, and nothing is requested without the proxy",
                           where="browser.remote", fix="use a browser on this machine, or remove `proxy` from the spider")
    try:
        browser = await playwright.chromium.connect_over_cdp(remote, timeout=program.start_timeout_s * 1000)
    except Error as error:
        # The cause is left out, since the messages of Playwright contain the URL in another form, which no mask would find in a log.
        raise BrowserError(f"the browser cannot be reached: {_URL.sub('its URL', _first_line(error))}", where="browser.remote", retry=True,
                           fix="start it with --remote-debugging-port, and check the URL") from None
    if not is_here:
        logger.warning("the browser on another machine does not use the guard proxy: private addresses are recognized only in URLs, and `headers`, "
                       "`ca_file` and `insecure_tls` of the spider have no effect on what the browser loads")
    return RunningBrowser(playwright, browser, guard if is_here else None, None)


def _not_started(error: Exception, path: str, program: BrowserProgram) -> BrowserError:
    text = str(error)
    if "Timeout" in text and "exceeded" in text:
        return BrowserError(f"the browser did not start within {program.start_timeout_s:g} s", where=path, retry=True,
                            fix="increase [browser] start_timeout if this machine is slow")
    if any(mark in text for mark in _SANDBOX):
        return BrowserError("the browser cannot use its sandbox", where=path,
                            fix="allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0), "
                            "or install the package chromium-sandbox")
    if "EACCES" in text:
        return BrowserError("the browser cannot be started from data_dir, which allows no programs (noexec)", where=str(program.folder),
                            fix="use a data_dir on a file system without noexec")
    reason = next((line for line in text.splitlines() if _DECISIVE.search(line)), "") or _first_line(error)
    return BrowserError(f"the browser did not start: {clean_line(reason, 300)}", where=path, retry=True,
                        fix="`pipeline doctor` tests the browser")


def _first_line(error: Exception) -> str:
    return clean_line(str(error).strip().split("\n", 1)[0], 300)


async def _within(seconds: float, work: Awaitable[Any]) -> None:
    """Wait for work that may hang or fail because the browser or the driver has ended."""
    from playwright.async_api import Error  # noqa: PLC0415
    with contextlib.suppress(TimeoutError, Error, OSError):
        await asyncio.wait_for(work, seconds)
