"""The errors of connections to a site are reported in words, with a fix.

They show no internals of aiohttp.
"""

from __future__ import annotations

import socket
import struct
import threading

import pytest

from tests.crawl.conftest import Crawls
from tests.servers.authority import Authority
from tests.servers.pages import Answer, PageSite
from tests.servers.raw import start_raw
from tests.servers.site import start_site


def error_of(crawls: Crawls, url: str, more: str = "") -> str:
    crawls.write(f"""
        [spiders.s]
        start = "{url}/"
        robots = false
        retries = 0
        {more}
    """)
    return crawls.run().error.removeprefix(f"{url}/: ")


@pytest.mark.parametrize(("issued", "words"), [
    ({"expired": True}, "the server's certificate is not trusted: certificate has expired; the owner of the site must renew"),
    ({"host": "other.example"}, "the server's certificate is not trusted: IP address mismatch, certificate is not valid for '127.0.0.1'; check")])
def test_an_invalid_certificate_is_reported_with_its_reason(
        crawls: Crawls, authority: Authority, issued: dict[str, bool | str], words: str) -> None:
    with start_site(authority.context(**issued)) as site:  # type: ignore[arg-type]
        assert error_of(crawls, site.url, f'ca_file = "{authority.ca_file}"').startswith(words)


def test_a_certificate_of_an_unknown_authority_is_reported(crawls: Crawls, authority: Authority) -> None:
    with start_site(authority.context()) as site:
        assert error_of(crawls, site.url) == (
            "the server's certificate is not trusted: unable to get local issuer certificate; "
            "if the site uses a private certificate authority, set `ca_file` to the authority's certificate")


def test_a_server_without_tls_is_reported(crawls: Crawls, site: PageSite) -> None:
    assert error_of(crawls, site.url.replace("http:", "https:")) == (
        "the server does not speak TLS on this port; write http:// if the server does not use TLS, or correct the port")


def test_a_host_name_without_an_address_is_reported(crawls: Crawls) -> None:
    assert error_of(crawls, "http://no-such-host.invalid") == "the host name cannot be resolved"


def test_a_port_without_a_server_is_reported(crawls: Crawls, free_port: int) -> None:
    assert error_of(crawls, f"http://127.0.0.1:{free_port}") == f"cannot connect to 127.0.0.1:{free_port}: Connection refused"


def test_a_reset_connection_is_reported(crawls: Crawls) -> None:
    def reset(connection: socket.socket, stopping: threading.Event) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with start_raw(reset) as url:
        assert error_of(crawls, url) == "the connection broke: Connection reset by peer"


def test_redirects_in_a_circle_are_reported(crawls: Crawls, site: PageSite) -> None:
    site.pages["/"] = Answer(status=302, headers={"Location": "/"})
    assert error_of(crawls, site.url) == (
        "the server redirected the request too many times; open the URL in a browser: the site may require a login or cookies")
