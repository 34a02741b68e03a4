"""Whatever a page in Chromium does to reach a private address, nothing arrives there.

The same towards an allowed server works.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Error, Page, Playwright, ProxySettings, async_playwright

from pipeline.errors import BrowserError
from pipeline.session import Session
from pipeline.session.browser.guard.connector import resolve_host
from pipeline.session.browser.guard_proxy import GuardProxy
from pipeline.session.browser.process.program import BrowserProgram
from tests.servers.authority import Authority
from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.ports import free_port
from tests.servers.proxies import OUTGOING, start_socks_proxy, start_tinyproxy
from tests.session.conftest import OpenSession

pytestmark = pytest.mark.needs("chromium")

DEADLINE_S = 20
PARTS = {
    "fetch": "fetch('{url}', {{mode: 'no-cors'}}).catch(() => 0)",
    "keepalive": "fetch('{url}', {{mode: 'no-cors', keepalive: true}}).catch(() => 0)",
    "xhr": "var x = new XMLHttpRequest(); x.open('POST', '{url}'); x.send('a')",
    "beacon": "navigator.sendBeacon('{url}', 'a')",
    "event-source": "new EventSource('{url}')",
    "websocket": "new WebSocket('{url}'.replace('http', 'ws'))",
    "worker": "new Worker(URL.createObjectURL(new Blob([\"fetch('{url}', {{mode: 'no-cors'}}).catch(() => 0)\"])))",
    "import-scripts": "new Worker(URL.createObjectURL(new Blob([\"importScripts('{url}')\"])))",
    "shared-worker": "new SharedWorker(URL.createObjectURL(new Blob([\"fetch('{url}', {{mode: 'no-cors'}}).catch(() => 0)\"])))",
    "module": "import('{url}').catch(() => 0)",
    "window-open": "window.open('{url}')",
    "service-worker": "navigator.serviceWorker.register('/worker.js')",
    "font": "new FontFace('f', 'url({url})').load().catch(() => 0)",
}
ELEMENTS = {
    "image": "<img src='{url}'>", "iframe": "<iframe src='{url}'></iframe>", "script": "<script src='{url}'></script>",
    "style": "<link rel=stylesheet href='{url}'>", "style-import": "<style>@import url('{url}');</style>",
    "background": "<div style=\"background: url('{url}')\">a</div>", "video": "<video src='{url}' preload=auto></video>",
    "audio": "<audio src='{url}' preload=auto></audio>", "object": "<object data='{url}'></object>", "embed": "<embed src='{url}'>",
    "prefetch": "<link rel=prefetch href='{url}'>", "preload": "<link rel=preload as=image href='{url}'>",
    "modulepreload": "<link rel=modulepreload href='{url}'>", "icon": "<link rel=icon href='{url}'>",
    "iframe-srcdoc": "<iframe srcdoc=\"<img src='{url}'>\"></iframe>", "iframe-sandbox": "<iframe sandbox src='{url}'></iframe>",
    "svg": "<svg><image href='{url}' width=1 height=1 /></svg>", "svg-use": "<svg><filter id=f><feImage href='{url}'/></filter></svg><p style='filter:url(#f)'>a",
    "form-in-frame": "<iframe name=t></iframe><form id=f1 method=post target=t action='{url}'></form><script>f1.submit()</script>",
    "picture-redirect": "<img src='/found?{url}'>", "frame-redirect": "<iframe src='/redirect?{url}'></iframe>",
    "speculation": "<script type=speculationrules>{{\"prefetch\": [{{\"source\": \"list\", \"urls\": [\"{url}\"]}}]}}</script>",
}
PAGES = {
    "location": "<script>location = '{url}'</script>", "meta-refresh": "<meta http-equiv=refresh content='0;url={url}'>",
    "form-post": "<form method=post action='{url}'><input name=a></form><script>document.forms[0].submit()</script>",
    "form-get": "<form action='{url}'></form><script>document.forms[0].submit()</script>",
    "document-open": "<script>document.write(\"<iframe src='{url}'></iframe>\")</script>",
    "redirect": "", "redirect-permanent": "", "redirect-post": "", "javascript-link": "<a id=a href='{url}'>a</a><script>a.click()</script>",
    "download": "<a id=a download href='{url}'>a</a><script>a.click()</script>",
}
UNSEEN = {"icon", "speculation"}
"""Not asked for by a browser without windows; not speculated about behind a proxy."""


@dataclass
class Rendering:
    """A context of a browser, whose only way to the network is the guard proxy. new_context: makes another one."""

    guard: GuardProxy
    context: BrowserContext
    new_context: Callable[[], Awaitable[BrowserContext]]


async def resolve(host: str, port: int) -> list[str]:
    return ["127.0.0.1"] if host.endswith(".test") else await resolve_host(host, port)


def chosen() -> str:
    """The browser that the program would choose: a headless shell where there is one. See torture.py for other builds, which differ at the edges."""
    return os.environ.get("TEST_BROWSER") or BrowserProgram(Path("unused")).path("")


async def launched(playwright: Playwright, guard: GuardProxy) -> Browser:
    """A browser, as the program starts it."""
    return await playwright.chromium.launch(executable_path=chosen(), proxy=way_to(guard), args=["--no-sandbox", *guard.browser_arguments()])


def way_to(guard: GuardProxy) -> ProxySettings:
    return {"server": guard.server, "bypass": "<-loopback>"}


Work = Callable[[Rendering], Awaitable[None]]
Render = Callable[[Session, Work], None]


async def use(guard: GuardProxy, new_context: Callable[[], Awaitable[BrowserContext]], work: Work) -> None:
    """Run a coroutine with a context that has the credentials of its guard proxy."""
    context = await new_context()
    await guard.authenticate(context)
    await work(Rendering(guard, context, new_context))
    await context.close()


@asynccontextmanager
async def guard_of(session: Session) -> AsyncIterator[GuardProxy]:
    guard = GuardProxy(session, resolve=resolve)
    await guard.start()
    try:
        async with asyncio.timeout(60):
            yield guard
    finally:
        await guard.close()


@pytest.fixture(scope="module")
def render() -> Iterator[Render]:
    """Runs a coroutine in one browser for all tests. Each context has a guard proxy of its own, as in a browser that runs already."""
    started: list[Browser] = []

    async def run(session: Session, work: Work) -> None:
        async with guard_of(session) as guard:
            if not started:
                started.append(await launched(await stack.enter_async_context(async_playwright()), guard))
                stack.push_async_callback(started[0].close)
            await use(guard, lambda: started[0].new_context(proxy=way_to(guard)), work)

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        yield lambda session, work: runner.run(run(session, work))
        runner.run(stack.aclose())


def render_alone(session: Session, work: Work) -> None:
    """Run a coroutine in a browser that is started for it, as the program does."""
    async def run() -> None:
        async with guard_of(session) as guard, async_playwright() as playwright:
            browser = await launched(playwright, guard)
            await use(guard, browser.new_context, work)
            await browser.close()
    asyncio.run(run())


async def until(done: Callable[[], bool], missing: Callable[[], object]) -> None:
    """Wait until a condition holds: traffic of a browser is an event in another process."""
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    while not done():
        assert asyncio.get_running_loop().time() < deadline, missing()
        await asyncio.sleep(0.02)


class Attacker:
    """A site whose pages try to reach NAME.attack.test at a port."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.site = PageSite()
        parts = "".join(f"<script>{script.format(url=self.url(name))}</script>" for name, script in PARTS.items())
        elements = "".join(element.format(url=self.url(name)) for name, element in ELEMENTS.items())
        worker = f"fetch('{self.url('service-worker')}', {{mode: 'no-cors'}}).catch(() => 0)"
        self.site.pages = {"/": f"<!doctype html><body>{elements}{parts}", "/worker.js": Answer(worker, headers={"Content-Type": "text/javascript"}),
                           **{f"/{name}": page.format(url=self.url(name)) for name, page in PAGES.items()},
                           "/redirect-permanent": Answer(status=308, headers={"Location": self.url("redirect-permanent")}),
                           "/redirect-post": f"<form method=post action='/redirect?{self.url('redirect-post')}'></form><script>document.forms[0].submit()</script>"}
        self.site.pages["/redirect"] = self._redirect
        self.site.pages["/found"] = lambda asked: replace(self._redirect(asked), status=302)

    def url(self, name: str) -> str:
        return f"http://{name}.attack.test:{self.port}/{name}"

    def _redirect(self, asked: Asked) -> Answer:
        return Answer(status=307, headers={"Location": asked.path.partition("?")[2] or self.url("redirect")})

    async def attack(self, context: BrowserContext) -> None:
        for path in ["/", *(f"/{name}" for name in PAGES)]:
            page = await context.new_page()
            with suppress(Error) if path.startswith("/redirect") else nullcontext():
                await page.goto(self.site.url + path, wait_until="commit")


@pytest.fixture
def silent() -> Iterator[tuple[int, list[object]]]:
    """A TCP and a UDP port on all loopback addresses that note whoever comes. Yields the port, and the list of their addresses."""
    came: list[object] = []
    port = free_port()
    with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) as listener, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", port))
        for each in (listener, datagrams):
            each.setblocking(False)
        yield port, came
        for take in (listener.accept, lambda: datagrams.recvfrom(2000)):
            try:
                came.append(take())
            except BlockingIOError:
                continue
    assert came == []


def test_whatever_a_page_tries_nothing_arrives_at_a_private_server(silent: tuple[int, list[object]], open_with: OpenSession) -> None:
    attacker = Attacker(silent[0])
    expected = {*PARTS, *ELEMENTS, *PAGES} - UNSEEN
    refused: set[str] = set()

    async def run(rendered: Rendering) -> None:
        def done() -> bool:
            refused.update(each.partition(".attack.test:")[0] for each in rendered.guard.refusals())
            return refused >= expected

        await attacker.attack(rendered.context)
        await until(done, lambda: f"never tried: {expected - refused}")
    with attacker.site:
        render_alone(open_with(attacker.site.url + "/", f'hosts = ["{attacker.site.host}"]'), run)


def test_the_same_towards_an_allowed_server_works(open_with: OpenSession, render: Render) -> None:
    expected = {*PARTS, *ELEMENTS, *PAGES} - UNSEEN

    async def run(rendered: Rendering) -> None:
        await attacker.attack(rendered.context)
        await until(lambda: {path.strip("/?") for path in target.paths()} >= expected, lambda: expected - {path.strip("/?") for path in target.paths()})
        assert rendered.guard.refusals() == []
    with PageSite() as target:
        target.pages = {f"/{name}": "" for name in expected}
        attacker = Attacker(int(target.host.partition(":")[2]))
        hosts = ", ".join(f'"{host}"' for host in (attacker.site.host, *(f"{name}.attack.test:{attacker.port}" for name in expected)))
        with attacker.site:
            render(open_with(attacker.site.url + "/", f"hosts = [{hosts}]"), run)


def test_no_notation_of_an_address_and_no_other_protocol_reaches_a_private_server(silent: tuple[int, list[object]], site: PageSite,
                                                                                  open_with: OpenSession, render: Render) -> None:
    port = silent[0]
    hosts = ["127.0.0.1", "localhost", "127.1", "0x7f.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "a.localhost"]
    site.pages = {"/": "<title>a</title>"}

    async def run(rendered: Rendering) -> None:
        page = await rendered.context.new_page()
        await page.goto(site.url + "/")
        for host in hosts:
            for scheme in ("http", "https"):
                assert await page.evaluate("url => fetch(url, {mode: 'no-cors'}).then(() => 'arrived', () => 'failed')", f"{scheme}://{host}:{port}/") == "failed"
                assert "private address" in str(rendered.guard.reason_for(f"{scheme}://{host}:{port}/")), (scheme, host)
        for url in (f"ws://127.0.0.1:{port}/", f"wss://localhost:{port}/"):
            assert await page.evaluate("url => new Promise(done => { const s = new WebSocket(url); s.onopen = () => done('open'); s.onerror = () => done('failed') })",
                                       url) == "failed"
        await gather(page, [f"stun:127.0.0.1:{port}", f"turn:127.0.0.1:{port}?transport=udp", f"turn:127.0.0.1:{port}?transport=tcp", f"stun:[::1]:{port}"])
        assert await page.evaluate("""async url => { try { const t = new WebTransport(url); t.closed.catch(() => 0); await t.ready; return 'open' }
                                      catch { return 'failed' } }""", f"https://127.0.0.1:{port}/") == "failed"
        with pytest.raises(Error):
            await page.goto(f"ftp://127.0.0.1:{port}/")
        candidates = await page.evaluate("window.candidates")
        assert candidates == []
    render(open_with(site.url + "/", f'hosts = ["{site.host}"]'), run)


async def gather(page: Page, servers: list[str]) -> None:
    """Let WebRTC use servers, and wait until it has tried."""
    await page.evaluate("""async servers => {
        window.candidates ??= []
        const peer = new RTCPeerConnection({iceServers: servers.map(urls => ({urls, username: 'a', credential: 'b'}))})
        const over = new Promise(done => { peer.onicecandidate = event => event.candidate ? candidates.push(event.candidate.candidate) : done() })
        peer.createDataChannel('a')
        await peer.setLocalDescription(await peer.createOffer())
        await Promise.race([over, new Promise(done => setTimeout(done, 3000))])
        peer.close()
    }""", servers)


def test_no_site_gets_the_proxys_credentials(site: PageSite, open_with: OpenSession, render: Render) -> None:
    """A site that asks for a password, or claims to be the proxy, gets none, and the browser still works afterwards."""
    site.pages = {"/401": Answer("who?", 401, {"WWW-Authenticate": 'Basic realm="guard"'}), "/407": Answer("who?", 407, {"Proxy-Authenticate": 'Basic realm="guard"'}),
                  "/": "works"}

    async def run(rendered: Rendering) -> None:
        for path in ("/401", "/407"):
            with suppress(Error):  # a headless shell shows the first page
                await (await rendered.context.new_page()).goto(site.url + path)
        assert "status 407, which only proxies use" in str(rendered.guard.reason_for(f"{site.url}/407"))
        page = await rendered.context.new_page()
        await page.goto(site.url + "/")
        assert await page.inner_text("body") == "works"
        other = await rendered.new_context()
        before = len(site.asked)
        with suppress(Error):  # each context needs the credentials
            await (await other.new_page()).goto(site.url + "/")
        assert len(site.asked) == before
        await rendered.guard.authenticate(other)
        await (await other.new_page()).goto(site.url + "/")
        await other.close()
        with pytest.raises(BrowserError, match="cannot use its proxy"):
            await rendered.guard.authenticate(other)
    render(open_with(site.url + "/", f'hosts = ["{site.host}"]'), run)
    assert all("Authorization" not in asked.headers and "Proxy-Authorization" not in asked.headers for asked in site.asked)


def test_pages_keep_the_http_cache(site: PageSite, open_with: OpenSession, render: Render) -> None:
    """Playwright's own way to authenticate at a proxy would disable it."""
    site.pages = {"/": "<script src=/big.js></script>", "/big.js": Answer("1", headers={"Cache-Control": "max-age=1000", "Content-Type": "text/javascript"})}

    async def run(rendered: Rendering) -> None:
        for _ in range(3):
            await (await rendered.context.new_page()).goto(site.url + "/")
    render(open_with(site.url + "/", f'hosts = ["{site.host}"]'), run)
    assert site.paths().count("/big.js") == 1


def test_certificates_are_verified_as_the_settings_say(authority: Authority, open_with: OpenSession, render: Render) -> None:
    """The browser knows neither `ca_file` nor `insecure_tls`: the guard proxy verifies in its place. Without them, the browser verifies."""
    text = "<script>new WebSocket(location.href.replace('https', 'wss') + 'socket')</script>secured"
    with PageSite({"/": text}, tls=authority.context()) as site, PageSite({"/": "x"}, tls=authority.context(expired=True)) as expired:
        settings = f'hosts = ["{site.host}", "{expired.host}", "{expired.host.replace("127.0.0.1", "localhost")}"]\n'

        async def work(rendered: Rendering, works: list[str], reasons: dict[str, str]) -> None:
            page = await rendered.context.new_page()
            for url in works:
                await page.goto(url + "/")
            for url, reason in reasons.items():
                with pytest.raises(Error) as caught:
                    await page.goto(url + "/")
                assert reason in f"{caught.value} {rendered.guard.reason_for(url)}"

        named = open_with(site.url + "/", f'{settings}ca_file = "{authority.ca_file}"\ninsecure_tls = ["localhost"]')
        render_alone(named, lambda rendered: work(rendered, [site.url, expired.url.replace("127.0.0.1", "localhost")], {
            expired.url: "the server's certificate is not trusted: certificate has expired"}))  # the browser is told the guard's certificate when it starts
        assert "/socket" in site.paths()
        render(open_with(site.url + "/", settings), lambda rendered: work(rendered, [], {site.url: "ERR_CERT_AUTHORITY_INVALID"}))


@pytest.mark.parametrize("kind", [pytest.param("http", marks=pytest.mark.needs("tinyproxy")), pytest.param("socks5h", marks=pytest.mark.needs("microsocks"))])
def test_a_page_and_its_parts_come_through_the_sessions_proxy(kind: str, site: PageSite, open_with: OpenSession, render: Render) -> None:
    site.pages = {"/": "<img src=/image><script>fetch('/data'); new WebSocket('ws://' + location.host + '/socket')</script>"}
    with (start_tinyproxy if kind == "http" else start_socks_proxy)("user", "password") as address:
        session = open_with(site.url + "/", f'hosts = ["{site.host}"]\nproxy = "way"', before=f'[proxies]\nway = "{kind}://user:password@{address}"\n')

        async def run(rendered: Rendering) -> None:
            await (await rendered.context.new_page()).goto(site.url + "/")
            await until(lambda: {"/", "/image", "/data", "/socket"} <= set(site.paths()), site.paths)
        render(session, run)
    assert {asked.peer for asked in site.asked} == {OUTGOING}
    assert [asked for asked in site.asked if "Proxy-Authorization" in asked.headers] == []
