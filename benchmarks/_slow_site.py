"""A site that answers each request after a delay.

Run it with `python -m benchmarks._slow_site PORT DELAY_MS PAGES HOSTS`.

It listens on all loopback addresses, so that each address 127.x.y.z is a host of its own. /chain/N links to the next page of a
chain of PAGES pages; /tree/N links to eight pages of a tree of PAGES pages, whose pages are spread over HOSTS hosts.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

FAN_OUT = 8


def host_of(number: int) -> str:
    """Return the address of a host of the tree."""
    return f"127.1.{number // 250}.{number % 250 + 1}"


def links_of(number: int, pages: int) -> range:
    """Return the numbers of the pages of the tree to which a page links."""
    return range(number * FAN_OUT + 1, min(number * FAN_OUT + FAN_OUT + 1, pages))


class Page(asyncio.Protocol):
    """One connection. A client sends its next request after it has read the response to the last one."""

    def __init__(self, port: int, delay_s: float, pages: int, hosts: int) -> None:
        self._port = port
        self._delay_s = delay_s
        self._pages = pages
        self._hosts = hosts
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._read += data
        while b"\r\n\r\n" in self._read:
            head, _, self._read = self._read.partition(b"\r\n\r\n")
            asyncio.get_running_loop().call_later(self._delay_s, self._answer, head.split(b" ", 2)[1].decode())

    def _answer(self, path: str) -> None:
        if not self._transport.is_closing():
            body = self._body(path).encode()
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    def _body(self, path: str) -> str:
        _, kind, name = path.split("/")
        number = int(name)
        if kind == "chain":
            urls = [f"/chain/{number + 1}"] if number + 1 < self._pages else []
        else:
            urls = [f"http://{host_of(child % self._hosts)}:{self._port}/tree/{child}" for child in links_of(number, self._pages)]
        links = "".join(f'<a href="{url}">next</a>' for url in urls)
        return f"<!doctype html><title>Page {number}</title><h1>Page {number}</h1>{links}<p>{'words of a page ' * 60}</p>"


async def main() -> None:
    port, delay_ms, pages, hosts = map(int, sys.argv[1:])
    server = await asyncio.get_running_loop().create_server(lambda: Page(port, delay_ms / 1000, pages, hosts), "0.0.0.0", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
