"""The guard proxy over real sockets: what it lets through, what it refuses, and what it says about it."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.errors import FetchError, ProxyError, TlsError
from pipeline.session import Session
from tests.servers.authority import Authority
from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.ports import free_port
from tests.servers.proxies import OUTGOING, start_http_proxy, start_socks_proxy, start_tinyproxy
from tests.servers.raw import start_raw
from tests.session.browser.conftest import OpenGuard
from tests.session.conftest import OpenSession

PRIVATE = "the host has the private address"


@pytest.fixture
def private() -> Iterator[PageSite]:
    """A server that the settings do not name."""
    with PageSite({"/": "secret"}) as site:
        yield site
        assert site.asked == []


def only(site: PageSite, open_with: OpenSession, spider: str = "", **tables: str) -> Session:
    """A session that may reach nothing private but the site."""
    return open_with(site.url + "/", f'hosts = ["{site.host}"]\n{spider}', **tables)


def test_a_request_to_a_named_host_arrives_unchanged(site: PageSite, open_with: OpenSession, guarded: OpenGuard) -> None:
    def echo(asked: Asked) -> Answer:
        return Answer(asked.body, headers={"X-Seen": asked.path})
    site.pages = {"/a%20b": echo}
    client = guarded(only(site, open_with))
    with client.plain() as connection:
        for body in (b"one", b"two"):  # on one connection
            connection.request("POST", f"{site.url}/a%20b?c=%C3%A4&d", body=body, headers={**client.credentials, "Host": "evil.example", "X-Own": "1"})
            response = connection.getresponse()
            assert (response.status, response.headers["X-Seen"], response.read()) == (200, "/a%20b?c=%C3%A4&d", body)
    assert [asked.headers["Host"] for asked in site.asked] == [site.host] * 2
    assert site.asked[0].headers["X-Own"] == "1"
    assert not {"Proxy-Authorization", "Proxy-Connection"} & site.asked[0].headers.keys()
    assert client.guard.reason_for(site.url) is None
    assert client.guard.received_bytes > 100


def test_nobody_uses_the_proxy_without_its_password(site: PageSite, open_with: OpenSession, guarded: OpenGuard) -> None:
    client = guarded(only(site, open_with))
    with client.plain() as connection:
        for headers in ({}, {"Proxy-Authorization": "Basic Og=="}, {"Proxy-Authorization": "Bearer x"}):
            connection.request("GET", site.url + "/", headers=headers)
            response = connection.getresponse()
            assert (response.status, response.headers["Proxy-Authenticate"]) == (407, 'Basic realm="guard"')
            response.read()
    assert client.raw(f"CONNECT {site.host} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).startswith(b"HTTP/1.1 407")
    assert site.asked == []


PRIVATE_PLACES = ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST.:{port}", "a.localhost:{port}", "127.1:{port}", "0x7f000001:{port}", "2130706433:{port}",
                  "0177.0.0.1:{port}", "[::1]:{port}", "[::ffff:127.0.0.1]:{port}", "[::ffff:7f00:1]:{port}", "0.0.0.0:{port}", "0:{port}",
                  "\uff11\uff12\uff17.0.0.1:{port}", "rebinding.test:{port}", "six.test:{port}", "metadata.test:80", "169.254.169.254:80", "[fd00::1]:{port}",
                  "[64:ff9b::7f00:1]:{port}", "user@127.0.0.1:{port}"]


def test_no_notation_of_a_private_address_is_reached(site: PageSite, private: PageSite, open_with: OpenSession, guarded: OpenGuard) -> None:
    client = guarded(only(site, open_with))
    for place in (each.format(port=private.host.partition(":")[2]) for each in PRIVATE_PLACES):
        request = f"GET http://{place}/ HTTP/1.1\r\nHost: {site.host}\r\nProxy-Authorization: {client.credentials['Proxy-Authorization']}\r\n\r\n"
        assert client.raw(request.encode()) in (b"", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), place
        status, connection = client.tunnel(place)
        connection.close()
        assert status in (400, 502), place
    refusals = client.guard.refusals()
    assert all(PRIVATE in each for each in refusals)
    assert len(refusals) > 10
    assert client.guard.refusals() == []


def test_a_refusal_says_what_to_do(site: PageSite, private: PageSite, open_with: OpenSession, guarded: OpenGuard) -> None:
    client = guarded(only(site, open_with))
    port = private.host.partition(":")[2]
    said = (f"rebinding.test:{port}: the host has the private address 127.0.0.1; private addresses are not fetched; "
            f"if this is intended, add \"rebinding.test:{port}\" to this spider's `hosts` setting")
    assert client.fails(f"http://rebinding.test:{port}/") == said
    assert client.refuses_tunnel(f"rebinding.test:{port}") == said
    assert str(client.guard.reason_for(f"ws://rebinding.test:{port}/socket")) == said
    assert client.guard.refusals() == [said]


def test_a_name_is_resolved_once_and_the_checked_address_is_used(private: PageSite, open_with: OpenSession, guarded: OpenGuard) -> None:
    """A name may resolve to another address each time (DNS rebinding): each connection asks once, and connects to what was checked."""
    answers = iter([["127.0.0.2"], ["10.255.255.1", "127.0.0.2"], ["127.0.0.1"]])
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return next(answers)

    with PageSite({"/": "pinned"}, host="127.0.0.2") as site:
        port = site.host.partition(":")[2]
        client = guarded(open_with(f"http://pinned.test:{port}/", f'hosts = ["pinned.test:{port}"]'), resolve=rebinding)
        assert client.get(f"http://pinned.test:{port}/") == (200, b"pinned")
        status, connection = client.tunnel(f"pinned.test:{port}")
        connection.close()
        assert status == 200
        assert asked == ["pinned.test"] * 2
    port = private.host.partition(":")[2]
    assert PRIVATE in client.fails(f"http://rebinding.test:{port}/")


def test_each_request_on_a_connection_is_checked(site: PageSite, private: PageSite, open_with: OpenSession, guarded: OpenGuard) -> None:
    """Requests that are sent at once, or hidden in a body, get no further than the first."""
    site.pages = {"/": "fine"}
    client = guarded(only(site, open_with))
    header = f"Proxy-Authorization: {client.credentials['Proxy-Authorization']}\r\n"

    def get(url: str, more: str = "") -> str:
        return f"GET {url} HTTP/1.1\r\nHost: x\r\n{header}{more}\r\n"
    allowed, refused = f"{site.url}/", f"{private.url}/"
    pipelined = client.raw((get(allowed) + get(refused) + get(allowed)).encode())
    assert pipelined.count(b"fine") == 1
    assert b"secret" not in pipelined
    smuggled = [
        get(allowed, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n" + get(refused),
        get(allowed, "Content-Length: 0\r\nContent-Length: 30\r\n") + get(refused),
        get(allowed, "Transfer-Encoding: xchunked\r\n") + get(refused),
        get(allowed, "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n") + get(refused),
        get(allowed, "Content-Length: +0\r\n") + get(refused),
        get(allowed, " folded: 1\r\n"),
        get(allowed, "bad name: 1\r\n"),
        get(allowed, "Name : 1\r\n"),
        get(allowed, "X: 1\nHost: evil\r\n"),
        get(allowed).replace("\r\n", "\n"),
        get(f"http://{site.host}\\@{private.host}/"),
        get(f"http://{site.host} @{private.host}/"),
        get("/"),
        get(f"https://{private.host}/"),
        get(f"ftp://{private.host}/"),
        get(f"//{private.host}/"),
        f"CONNECT {private.url}/ HTTP/1.1\r\n{header}\r\n",
        f"CONNECT {site.host}@{private.host} HTTP/1.1\r\n{header}\r\n",
        "\r\n\r\n\r\n", "\0", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n",
    ]
    for each in smuggled:
        assert client.raw(each.encode()) in (b"", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), each
    assert [asked.path for asked in site.asked] == ["/"]


def test_a_request_hidden_in_a_body_is_a_body(site: PageSite, private: PageSite, open_with: OpenSession, guarded: OpenGuard) -> None:
    site.pages = {"/": lambda asked: Answer(b"%d" % len(asked.body))}
    client = guarded(only(site, open_with))
    hidden = f"GET {private.url}/ HTTP/1.1\r\nHost: x\r\nProxy-Authorization: {client.credentials['Proxy-Authorization']}\r\n\r\n".encode()
    assert client.get(f"{site.url}/", "POST", hidden) == (200, b"%d" % len(hidden))


def test_heads_that_never_end_are_refused(site: PageSite, open_with: OpenSession, guarded: OpenGuard) -> None:
    client = guarded(only(site, open_with))
    assert client.raw(b"GET http://x/ HTTP/1.1\r\n" + b"X-Long: " + b"a" * 300_000).startswith(b"HTTP/1.1 400")
    assert client.raw(b"GET http://x/ HTTP/1.1\r\n" + b"X: 1\r\n" * 1200 + b"\r\n").startswith(b"HTTP/1.1 400")


def test_failures_of_a_site_are_told_apart(site: PageSite, open_with: OpenSession, guarded: OpenGuard) -> None:
    closed = free_port()
    with start_raw(lambda connection, stopping: connection.sendall(b"SSH-2.0-x\r\n\r\n")) as not_http, \
            start_raw(lambda connection, stopping: stopping.wait(20)) as silent, \
            start_raw(lambda connection, stopping: None) as closing, \
            start_raw(lambda connection, stopping: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")) as cut, \
            start_raw(lambda connection, stopping: connection.sendall(b"HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n")) as claiming:
        hosts = ", ".join(f'"{url.removeprefix("http://")}"' for url in (not_http, silent, closing, cut, claiming, f"127.0.0.1:{closed}"))
        client = guarded(open_with(site.url + "/", f'hosts = [{hosts}]\ntimeout = "500ms"'))
        assert client.fails(f"http://127.0.0.1:{closed}/a?password=x") == (
            f"http://127.0.0.1:{closed}/a?password=•••: cannot connect to the server: Connection refused; check the URL and the network")
        assert "cannot connect to the server: Connection refused" in client.refuses_tunnel(f"127.0.0.1:{closed}")
        assert "the host name cannot be resolved" in client.fails("http://no-such-host.invalid/")
        assert "the server did not respond with HTTP but with “SSH-2.0-x”" in client.fails(not_http)
        assert "the server did not respond in time" in client.fails(silent)
        assert "the connection broke during the response" in client.fails(closing)
        assert "the body was cut short: 3 of 100 bytes arrived" in client.fails(cut)
        assert "the server responded with status 407, which only proxies use" in client.fails(claiming)
        reason = client.guard.reason_for(silent)
        assert isinstance(reason, FetchError)
        assert reason.retry
        assert client.guard.refusals() == []


def test_a_failure_is_that_of_its_url_until_this_works_again(site: PageSite, open_with: OpenSession, guarded: OpenGuard) -> None:
    site.pages = {"/?a": Answer("x" * 100, cut=10), "/whole": "whole"}
    client = guarded(only(site, open_with))
    assert "the body was cut short: 10 of 100 bytes arrived" in client.fails(site.url + "/?a")
    assert client.get(site.url + "/whole") == (200, b"whole")
    assert [client.guard.reason_for(site.url + path) is None for path in ("/?a", "/?a#part", "/", "/whole")] == [False, False, True, True]
    site.pages["/?a"] = "whole again"
    assert client.get(site.url + "/?a") == (200, b"whole again")
    assert client.guard.reason_for(site.url + "/?a") is None


def test_a_private_authority_is_trusted_on_the_way_to_the_site(authority: Authority, open_with: OpenSession, guarded: OpenGuard) -> None:
    with PageSite({"/": "secured"}, tls=authority.context()) as site, PageSite({"/": "x"}, tls=authority.context(expired=True)) as expired:
        session = open_with(site.url + "/", f'hosts = ["{site.host}", "{expired.host}"]\nca_file = "{authority.ca_file}"')
        client = guarded(session)
        browser = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        browser.check_hostname, browser.verify_mode = False, ssl.CERT_NONE  # the browser knows the key
        connection = client.secured(site.host, browser)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"secured"
        connection.close()
        with pytest.raises((OSError, ssl.SSLError)):
            client.secured(expired.host, browser)
        reason = client.guard.reason_for(f"https://{expired.host}/page")
        assert isinstance(reason, TlsError)
        assert str(reason).startswith(f"https://{expired.host}/page: the server's certificate is not trusted: certificate has expired")
        assert expired.asked == []


def test_without_exceptions_the_browser_verifies_the_certificate_itself(authority: Authority, open_with: OpenSession, guarded: OpenGuard) -> None:
    with PageSite({"/": "secured"}, tls=authority.context()) as site:
        client = guarded(open_with(site.url + "/", f'hosts = ["{site.host}"]'))
        connection = client.secured(site.host, ssl.create_default_context(cafile=str(authority.ca_file)))
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"secured"
        connection.close()


def test_an_unencrypted_tunnel_works_with_an_exception_too(site: PageSite, authority: Authority, open_with: OpenSession, guarded: OpenGuard) -> None:
    """So does a WebSocket without TLS begin."""
    site.pages = {"/": "plain"}
    client = guarded(only(site, open_with, f'ca_file = "{authority.ca_file}"\ninsecure_tls = true'))
    status, connection = client.tunnel(site.host)
    assert status == 200
    with connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = b""
        while data := connection.recv(65536):
            received += data
    assert received.endswith(b"plain")


PROXIES = {"http": lambda: start_http_proxy("user:pass word"), "tinyproxy": lambda: start_tinyproxy("user", "password"),
           "socks5": lambda: start_socks_proxy("user", "password"), "socks5h": lambda: start_socks_proxy("user", "password")}
PASSWORDS = {"http": "pass%20word"}


@pytest.mark.parametrize("kind", ["http", pytest.param("tinyproxy", marks=pytest.mark.needs("tinyproxy")),
                                  pytest.param("socks5", marks=pytest.mark.needs("microsocks")), pytest.param("socks5h", marks=pytest.mark.needs("microsocks"))])
def test_all_goes_through_the_sessions_proxy(kind: str, site: PageSite, private: PageSite, open_with: OpenSession, guarded: OpenGuard) -> None:
    site.pages = {"/": "by proxy"}
    scheme = kind if kind.startswith("socks") else "http"
    with PROXIES[kind]() as address:
        proxies = f'[proxies]\nway = "{scheme}://user:{PASSWORDS.get(kind, "password")}@{address}"\nwrong = "{scheme}://user:wrong@{address}"\n'
        client = guarded(only(site, open_with, 'proxy = "way"', before=proxies))
        assert client.get(site.url + "/") == (200, b"by proxy")
        status, connection = client.tunnel(site.host)
        with connection:
            assert status == 200
            connection.sendall(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        if kind != "http":
            assert {asked.peer for asked in site.asked} == {OUTGOING}
        assert all("user" not in str(asked.headers) and "Proxy-Authorization" not in asked.headers for asked in site.asked)
        assert PRIVATE in client.fails(private.url + "/")
        assert PRIVATE in client.refuses_tunnel(private.host)
        seen = len(site.asked)
        wrong = guarded(only(site, open_with, 'proxy = "wrong"', before=proxies))
        for reason in (wrong.fails(site.url + "/"), wrong.refuses_tunnel(site.host)):
            assert reason == f"{scheme}://{address}: the proxy refused the user name or password; correct this proxy's user and password in [proxies]"
        assert len(site.asked) == seen


@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks5h"])
def test_nothing_is_sent_past_a_proxy_that_is_down(scheme: str, site: PageSite, open_with: OpenSession, guarded: OpenGuard) -> None:
    port = free_port()
    client = guarded(only(site, open_with, 'proxy = "way"', before=f'[proxies]\nway = "{scheme}://127.0.0.1:{port}"\n'))
    said = (f"{scheme}://127.0.0.1:{port}: the proxy is down: Connection refused; the request was not sent without the proxy; "
            "start the proxy, or change this spider's `proxy` setting")
    assert client.fails(site.url + "/") == client.refuses_tunnel(site.host) == said
    assert isinstance(client.guard.reason_for(site.url), ProxyError)
    assert site.asked == []


def test_the_next_proxy_of_a_pool_is_used_when_one_is_down(site: PageSite, open_with: OpenSession, guarded: OpenGuard) -> None:
    site.pages = {"/": lambda asked: Answer(asked.body)}
    with start_http_proxy("user:password") as refusing, start_http_proxy() as working:
        pool = f'[proxies]\npool = ["http://127.0.0.1:{free_port()}", "socks5://127.0.0.1:{free_port()}", "http://{refusing}", "http://{working}"]\n'
        client = guarded(only(site, open_with, 'proxy = "pool"', before=pool))
        with pytest.raises(http.client.RemoteDisconnected):  # the body went to the proxy that refuses the password
            client.get(site.url + "/", "POST", b"body")
        assert "refused the user name or password" in str(client.guard.reason_for(site.url))
        assert client.get(site.url + "/", "POST", b"body") == (200, b"body")
        status, connection = client.tunnel(site.host)
        connection.close()
        assert status == 200
        assert client.guard.reason_for(site.url) is None
    assert "the proxy is down" in client.fails(site.url + "/")


def test_an_https_proxy_with_a_private_authority_works(authority: Authority, open_with: OpenSession, guarded: OpenGuard) -> None:
    """TLS to the proxy, and inside of it TLS to the site, and TLS to the browser."""
    leaf = authority.issue()
    cert, key = authority.folder / "proxy.pem", authority.folder / "proxy.key"
    leaf.cert_chain_pems[0].write_to_path(cert)
    leaf.private_key_pem.write_to_path(key)
    with PageSite({"/": "within"}, tls=authority.context()) as site, start_http_proxy(cert=cert, key=key) as address:
        proxies = f'[proxies]\nway = "https://{address}"\n'
        client = guarded(only(site, open_with, f'proxy = "way"\nca_file = "{authority.ca_file}"', before=proxies))
        browser = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        browser.check_hostname, browser.verify_mode = False, ssl.CERT_NONE
        connection = client.secured(site.host, browser)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"within"
        connection.close()
        untrusting = guarded(only(site, open_with, 'proxy = "way"', before=proxies))
        assert f"https://{address}: the proxy's certificate is not trusted" in untrusting.refuses_tunnel(site.host)


def test_a_large_body_passes_without_being_held(site: PageSite, open_with: OpenSession, guarded: OpenGuard) -> None:
    """50 MB to a browser that reads only the beginning: the site can send little more than that."""
    sent = 0
    over = threading.Event()

    def stream(connection: socket.socket, stopping: threading.Event) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(800):
                connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                sent += 65536
            connection.sendall(b"0\r\n\r\n")
        finally:
            over.set()
    with start_raw(stream) as url:
        client = guarded(open_with(url + "/"), max_bytes=40_000_000)
        with client.plain() as connection, client.guard.page_load() as load:
            connection.request("GET", url + "/", headers=client.credentials)
            response = connection.getresponse()
            response.read(1_000_000)
            before = -1
            while sent != before:  # until nothing moves any more
                before = sent
                over.wait(0.2)
            assert sent < 20_000_000, "the proxy holds what the browser has not read"
            assert not load.exceeded.is_set()
            assert len(response.read()) == 800 * 65536 - 1_000_000
            assert load.exceeded.is_set()
            assert load.received_bytes > 50_000_000


def test_large_uploads_pass_in_both_framings(site: PageSite, open_with: OpenSession, guarded: OpenGuard) -> None:
    site.pages = {"/": lambda asked: Answer(b"%d" % len(asked.body))}
    client = guarded(only(site, open_with))
    assert client.get(site.url + "/", "POST", b"x" * 5_000_000) == (200, b"5000000")
    lengths: list[bytes] = []

    def chunks(connection: socket.socket, stopping: threading.Event) -> None:
        data = b""
        connection.settimeout(10)
        while not data.endswith(b"0\r\n\r\n"):
            data += connection.recv(65536)
        lengths.append(data)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    with start_raw(chunks) as url:
        client = guarded(open_with(url + "/"))
        with client.plain() as connection:
            connection.request("POST", url + "/", body=iter([b"a" * 300_000, b"bcd"]), headers={**client.credentials, "Transfer-Encoding": "chunked"}, encode_chunked=True)
            assert connection.getresponse().read() == b"ok"


def test_a_hundred_connections_at_once_are_served(site: PageSite, open_with: OpenSession, guarded: OpenGuard) -> None:
    barrier = threading.Barrier(100, timeout=30)

    def all_here(asked: Asked) -> Answer:
        barrier.wait()
        return Answer("here")
    site.pages = {"/": all_here}
    client = guarded(only(site, open_with))
    with ThreadPoolExecutor(100) as threads:
        assert list(threads.map(client.get, [site.url + "/"] * 100)) == [(200, b"here")] * 100


def test_a_kept_connection_that_the_site_closed_is_no_failure_of_the_site(site: PageSite, open_with: OpenSession, guarded: OpenGuard) -> None:
    """The site closes each connection after its first response without saying so; browsers then send their request again."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    with start_raw(lambda connection, stopping: connection.sendall(answer)) as url:
        client = guarded(open_with(url + "/"))
        with client.plain() as connection:
            for _ in range(5):
                connection.request("GET", url + "/", headers=client.credentials)
                try:
                    assert connection.getresponse().read() == b"ok"
                except (http.client.RemoteDisconnected, ConnectionResetError):
                    connection.close()
        assert client.guard.reason_for(url) is None


def test_responses_of_all_framings_arrive(open_with: OpenSession, guarded: OpenGuard) -> None:
    framings = {b"HTTP/1.1 200 OK\r\n\r\nuntil the end": b"until the end", b"HTTP/1.0 200 OK\nContent-Length: 3\n\nold": b"old",
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\nabc\r\n0\r\nTrailer: 1\r\n\r\n": b"abc",
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok": b"ok",
                b"HTTP/1.1 204 No Content\r\n\r\n": b"", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n": b""}
    for raw, body in framings.items():
        with start_raw(lambda connection, stopping, raw=raw: connection.sendall(raw)) as url:
            client = guarded(open_with(url + "/"))
            assert client.get(url + "/")[1] == body
            assert client.guard.reason_for(url) is None


def test_a_closed_page_ends_its_requests(open_with: OpenSession, guarded: OpenGuard) -> None:
    gone = threading.Event()

    def wait(connection: socket.socket, stopping: threading.Event) -> None:
        connection.settimeout(20)
        if connection.recv(1) == b"":
            gone.set()
    with start_raw(wait) as url:
        client = guarded(open_with(url + "/"))
        with client.plain() as connection:
            connection.request("GET", url + "/", headers=client.credentials)
            time.sleep(0)  # the request is on its way; closing at any moment must end it
        assert gone.wait(20)
        assert client.guard.reason_for(url) is None


def test_a_website_that_becomes_a_websocket_on_a_plain_connection_is_passed_on(open_with: OpenSession, guarded: OpenGuard) -> None:
    def switch(connection: socket.socket, stopping: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        connection.sendall(connection.recv(100).upper())
    with start_raw(switch) as url:
        client = guarded(open_with(url + "/"))
        with client.plain() as connection:
            connection.request("GET", url + "/", headers={**client.credentials, "Connection": "Upgrade", "Upgrade": "websocket"})
            assert connection.sock is not None
            response = connection.sock.recv(1000)
            assert response.startswith(b"HTTP/1.1 101")
            connection.sock.sendall(b"hello")
            assert connection.sock.recv(100) == b"HELLO"


def test_secrets_are_not_in_what_the_proxy_shows(site: PageSite, open_with: OpenSession, guarded: OpenGuard) -> None:
    guard = guarded(only(site, open_with)).guard
    assert guard.password not in repr(guard)
    assert guard.server.startswith("http://127.0.0.1:")
    assert guard.password not in " ".join(guard.browser_arguments())
