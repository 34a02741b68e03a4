"""Every page in a browser, for a person to look at.

Phone and desktop, light and dark, with and without scripts.

    python -m tests.heartbeat.screenshots FOLDER        needs chromium

Beside the pictures it checks what a program can: nothing is wider than the window, every control has a name for a
screen reader, the keyboard reaches each of them, no script or style is refused, a live page changes without a reload.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from pipeline.heartbeat.access import AccessPolicy
from pipeline.heartbeat.connections.listeners import ListenOptions
from pipeline.heartbeat.server import HeartbeatServer, ServiceInfo
from pipeline.model import Progress
from pipeline.store.runs import runs
from tests.heartbeat.http.console.world import SECRETS, World, stored_items

WIDTHS = (360, 1280)
SCHEMES = ("light", "dark")


class Tab:
    """A page of the browser, spoken to in the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/)."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count()
        self.complaints: list[str] = []

    async def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            found = await self._next()
            if found.get("id") == number:
                assert "error" not in found, (method, found)
                return found["result"]

    async def open(self, url: str) -> None:
        await self.do("Page.navigate", url=url)
        while (await self._next()).get("method") != "Page.loadEventFired":
            pass

    async def value(self, script: str) -> Any:
        return (await self.do("Runtime.evaluate", expression=script, returnByValue=True))["result"].get("value")

    async def _next(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await asyncio.wait_for(self._socket.receive_str(), 30))
        if found.get("method") in {"Log.entryAdded", "Runtime.exceptionThrown"}:
            text = str(found["params"])
            if "t.example" not in text and "sandboxed" not in text:  # what a digest must not do is refused aloud
                self.complaints.append(text[:300])
        return found


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Tab]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or sys.exit("chromium is not installed")
    with tempfile.TemporaryDirectory() as profile:
        process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-proxy-server",
             f"--user-data-dir={profile}", "about:blank"], stderr=subprocess.DEVNULL)
        try:
            active = Path(profile, "DevToolsActivePort")
            async with asyncio.timeout(30):
                while not active.exists() or not active.read_text():
                    await asyncio.sleep(0.05)
            port = int(active.read_text().split()[0])
            async with aiohttp.ClientSession() as client:
                async with client.get(f"http://127.0.0.1:{port}/json/list") as answer:
                    url = next(each for each in await answer.json(content_type=None) if each["type"] == "page")
                async with client.ws_connect(url["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                    yield Tab(socket)
        finally:
            process.terminate()
            process.wait(20)


async def look(folder: Path, world: World, base: str, paths: dict[str, str]) -> None:
    async with chromium() as tab:
        for domain in ("Page", "Runtime", "Log", "Accessibility"):
            await tab.do(f"{domain}.enable")
        await tab.do("Emulation.setFocusEmulationEnabled", enabled=True)
        await tab.open(f"{base}/digests")
        await picture(tab, folder, "locked", 360, "light")
        await tab.open(f"{base}/?token={world.token.reveal()}")
        assert "token" not in await tab.value("location.href")
        tab.complaints.clear()  # the 403 was one
        for scripts in (True, False):
            await tab.do("Emulation.setScriptExecutionDisabled", value=not scripts)
            for name, path in paths.items():
                for width, scheme in itertools.product(WIDTHS, SCHEMES if scripts else ("light",)):
                    await tab.do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
                    await tab.do("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1,
                                 mobile=width < 600)
                    await tab.open(base + path)
                    await picture(tab, folder, name if scripts else f"{name}-without-scripts", width, scheme)
                    assert await tab.value("document.documentElement.scrollWidth") <= width, (name, width)
                await named(tab, name)
                if scripts:  # without them nobody counts, and the keyboard does the same
                    await reached(tab, name)
        await tab.do("Emulation.setScriptExecutionDisabled", value=False)
        await live(tab, world, base + paths["live"])
        assert not tab.complaints, tab.complaints[:3]


async def picture(tab: Tab, folder: Path, name: str, width: int, scheme: str) -> None:
    found = await tab.do("Page.captureScreenshot", captureBeyondViewport=True)
    (folder / f"{name}-{width}-{scheme}.png").write_bytes(base64.b64decode(found["data"]))


async def named(tab: Tab, name: str) -> None:
    """What a screen reader says of each control, picture and part of the page."""
    nodes = (await tab.do("Accessibility.getFullAXTree"))["nodes"]
    for node in nodes:
        role = node.get("role", {}).get("value")
        if role in {"link", "button", "textbox", "image", "region", "Iframe", "navigation"} and not node.get("ignored"):
            assert node.get("name", {}).get("value"), (name, role, node)
    roles = [node.get("role", {}).get("value") for node in nodes]
    assert roles.count("main") == 1, name
    assert "heading" in roles, name


async def reached(tab: Tab, name: str) -> None:
    """The tab key comes by everything that can be pressed or followed."""
    wanted = await tab.value("[...document.querySelectorAll('a[href],button,input:not([type=hidden]),select,iframe,summary,[tabindex]')]"
                             ".filter(e => e.checkVisibility() && e.tabIndex >= 0).length")  # not what a closed <details> hides
    await tab.value("window.seen = new Set(); document.addEventListener('focusin', e => seen.add(e.target))")
    for _ in range(wanted + 5):  # the frame of a digest takes some
        for kind in ("rawKeyDown", "keyUp"):
            await tab.do("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
    reached = await tab.value("seen.size")
    assert reached >= wanted - 1, (name, wanted, reached)  # the frame of a digest keeps its focus to itself


async def live(tab: Tab, world: World, url: str) -> None:
    await tab.open(url)
    await tab.value("window.stayed = true")
    runs.report_progress(world.store, world.at_work, Progress(pages=123_456), now=world.now)
    async with asyncio.timeout(20):
        while "123456" not in (await tab.value("document.body.innerText")).replace(",", ""):
            await asyncio.sleep(0.1)
    assert await tab.value("window.stayed"), "it was reloaded"


async def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(SECRETS)
    with tempfile.TemporaryDirectory() as data:
        world = World(Path(data))
        stored_items(world)
        _, failed = world.fill()
        world.at_work = world.run("now", 30, outcome=None, pages=17, items=120, downloads=2, download_bytes=9_000_000)
        heartbeat = HeartbeatServer(world, ListenOptions("127.0.0.1", 0), actions=world.actions, access=AccessPolicy(world.token), service=ServiceInfo("1.2.3"))
        await heartbeat.start()
        try:
            await look(folder, world, f"http://127.0.0.1:{heartbeat.address[1]}", {
                "overview": "/", "spider": "/spiders/books", "items": "/spiders/books/items", "item": "/spiders/books/items/1", "failed": f"/runs/{failed.id}", "live": f"/runs/{world.at_work.id}",
                "digests": "/digests", "digest": "/digests/books", "message": f"/messages/{world.sent}", "outbox": "/outbox",
                "drop": f"/messages/{world.parked}/drop", "retry": "/outbox/retry", "settings": "/settings"})
        finally:
            await heartbeat.stop()
            world.store.close()
    print(f"{len(list(folder.glob('*.png')))} pictures in {folder}")


if __name__ == "__main__":
    asyncio.run(main())
