"""Proxies: HTTP, HTTPS and SOCKS, credentials, dead proxies and pools."""

from __future__ import annotations

import json
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from pipeline.errors import PipelineError, ProxyError, UsageError
from pipeline.session import Session, translate
from pipeline.session.proxies.config import proxy_url
from pipeline.session.proxies.pool import ProxyPool
from pipeline.settings import ProxyTable, Secret
from pipeline.store.session_files import LocalFile
from tests.servers.authority import Authority
from tests.servers.pages import PageSite
from tests.servers.ports import free_port
from tests.servers.program import Program
from tests.servers.proxies import start_http_proxy, start_socks_proxy, start_tinyproxy
from tests.servers.site import Site, start_site
from tests.session.conftest import OpenSession

USER, PASSWORD = "møller", "p@ss/w:rd% 中"


@pytest.fixture(scope="module")
def http_proxy() -> Iterator[str]:
    with start_http_proxy(f"{USER}:{PASSWORD}") as place:
        yield place


def tables(url: str, password: str = "") -> str:
    if not password:
        return f'[proxies]\np = "{url}"'
    return f'[proxies.p]\nurl = "{url}"\nuser = "{USER}"\npassword = {{ env = "PROXY_PASSWORD" }}'


def fault(session: Session, url: str) -> PipelineError:
    with session.client() as client, pytest.raises(requests.RequestException) as caught:
        client.get(url)
    return translate(caught.value, url, session.proxy)


def test_logs_in_through_a_proxy_with_credentials(site: Site, open_with: OpenSession, http_proxy: str,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_PASSWORD", PASSWORD)
    session = open_with(site.url, 'proxy = "p"', before=tables(f"http://{http_proxy}", PASSWORD),
                        login=f'url = "{site.url}/login"')
    session.ensure_login()
    assert len(site.log) == 4
    proxied = {seen.client for seen in site.log if "proxy.py" in seen.headers.get("via", "")}
    assert {seen.client for seen in site.log} == proxied


def test_a_tls_site_is_fetched_through_connect(authority: Authority, open_with: OpenSession, http_proxy: str,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_PASSWORD", PASSWORD)
    with start_site(server_context(authority)) as site:
        session = open_with(site.url, f'proxy = "p"\nca_file = "{authority.ca_file}"',
                            before=tables(f"http://{http_proxy}", PASSWORD), login=f'url = "{site.url}/login"')
        session.ensure_login()
        assert site.logins == 1
        assert all("proxy-authorization" not in seen.headers for seen in site.log)


@pytest.mark.parametrize("tls", [False, True])
def test_a_wrong_proxy_password_is_reported(authority: Authority, open_with: OpenSession, http_proxy: str,
                                        monkeypatch: pytest.MonkeyPatch, tls: bool) -> None:
    monkeypatch.setenv("PROXY_PASSWORD", "wrong")
    with start_site(server_context(authority) if tls else None) as site:
        session = open_with(site.url, 'proxy = "p"', before=tables(f"http://{http_proxy}", "wrong"))
        error = fault(session, site.url)
        assert str(error) == (f"http://{http_proxy}: the proxy refused the user name or password; "
                              "correct this proxy's user and password in [proxies]")
        assert isinstance(error, ProxyError)
        assert not error.retry
        assert site.log == []


@pytest.mark.needs("tinyproxy")
@pytest.mark.parametrize("tls", [False, True])
def test_a_401_of_tinyproxy_counts_as_a_refused_password(authority: Authority, open_with: OpenSession, tls: bool,
                                                               ) -> None:
    with start_site(server_context(authority) if tls else None) as site, start_tinyproxy("me", "other") as proxy:
        session = open_with(site.url, 'proxy = "p"', before=tables(f"http://me:geheim@{proxy}"))
        assert "the proxy refused the user name or password" in str(fault(session, site.url))
        assert site.log == []


@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks5h"])
def test_a_dead_proxy_never_leaks_a_direct_request(site: Site, open_with: OpenSession, scheme: str) -> None:
    place = f"{scheme}://me:geheim@127.0.0.1:{free_port()}"
    session = open_with(site.url, 'proxy = "p"', before=tables(place), login=f'url = "{site.url}/login"')
    with pytest.raises(ProxyError) as caught:
        session.ensure_login()
    assert "the proxy is down: Connection refused; the request was not sent without the proxy; start the proxy" in str(caught.value)
    assert caught.value.retry
    assert "geheim" not in str(caught.value) + repr(session)
    with session.client() as client:
        for leak in ({"proxies": {}}, {"proxies": {"http": ""}}, {"proxies": {"no_proxy": "*"}}):
            with pytest.raises(requests.RequestException):
                client.get(site.url, **leak)
    assert site.log == []


def test_the_environments_proxy_is_not_used(site: Site, open_with: OpenSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with open_with(site.url).client() as client:
        assert client.get(site.url).ok


@pytest.mark.parametrize("https_site", [False, True])
def test_an_https_proxy_is_verified_and_used(authority: Authority, open_with: OpenSession, tmp_path: Path,
                                             https_site: bool) -> None:
    cert, key = pem_files(authority, tmp_path)
    with start_http_proxy("me:secret", cert=cert, key=key) as place, \
            start_site(server_context(authority) if https_site else None) as site:
        before = tables(f"https://me:secret@{place}")
        trusting = open_with(site.url, f'proxy = "p"\nca_file = "{authority.ca_file}"', before=before)
        with trusting.client() as client:
            assert client.get(site.url).ok
        assert len(site.log) == 1
        error = fault(open_with(site.url, 'proxy = "p"', before=before), site.url)
        assert isinstance(error, ProxyError)
        assert "certificate is not trusted" in str(error)
        # Not to verify a site never means not to verify the proxy.
        insecure = open_with(site.url.replace("127.0.0.1", "localhost"), 'proxy = "p"\ninsecure_tls = true', before=before)
        assert isinstance(fault(insecure, site.url), ProxyError)
        assert len(site.log) == 1


@pytest.mark.needs("microsocks")
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_logs_in_through_socks_with_credentials(site: Site, open_with: OpenSession, scheme: str,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_PASSWORD", PASSWORD)
    with start_socks_proxy(USER, PASSWORD) as place:
        session = open_with(site.url, 'proxy = "p"', before=tables(f"{scheme}://{place}", PASSWORD),
                            login=f'url = "{site.url}/login"')
        session.ensure_login()
        assert site.logins == 1
        monkeypatch.setenv("PROXY_PASSWORD", "wrong")
        session = open_with(site.url, 'proxy = "p"', before=tables(f"{scheme}://{place}", "wrong"))
        assert "refused the user name or password" in str(fault(session, site.url))


@pytest.mark.needs("microsocks")
def test_a_site_that_is_down_behind_socks_is_not_reported_as_a_dead_proxy(open_with: OpenSession) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with start_socks_proxy() as place:
        error = fault(open_with(url, 'proxy = "p"', before=tables(f"socks5h://{place}")), url)
    assert "the proxy could not connect to" in str(error)
    assert error.retry


def test_a_pool_gives_its_first_proxy(site: Site, open_with: OpenSession) -> None:
    session = open_with(site.url, 'proxy = "p"', before='[proxies]\np = ["http://10.0.0.1", "http://10.0.0.2:3128"]')
    assert session.proxy == "http://10.0.0.1:80"


@pytest.mark.parametrize(("entry", "url"), [
    ("http://u:p@host:3128", "http://u:p@host:3128"),
    ("http://u:p@ss:w%40rd@host:3128", f"http://u:{quote('p@ss:w@rd', safe='')}@host:3128"),
    ("socks5h://[::1]", "socks5h://[::1]:1080"),
    ("https://user@proxy.example", "https://user:@proxy.example:443")])
def test_proxy_urls_are_completed_and_encoded(entry: str, url: str) -> None:
    assert proxy_url(entry) == url


def test_a_missing_proxy_password_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_PASSWORD", raising=False)
    with pytest.raises(UsageError, match="NO_SUCH_PASSWORD is not set"):
        proxy_url(ProxyTable(url="http://h:1", user="u", password=Secret("env", "NO_SUCH_PASSWORD")))


def server_context(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue().configure_cert(context)
    return context


def pem_files(authority: Authority, folder: Path) -> tuple[Path, Path]:
    issued = authority.issue()
    cert, key = folder / "proxy.pem", folder / "proxy.key"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return cert, key


def test_a_login_uses_the_pools_next_proxy_and_stays_with_it(site: Site, open_with: OpenSession) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    with start_http_proxy("me:secret") as place:
        before = f'[proxies]\np = ["{dead}", "http://me:secret@{place}"]'
        login = f'url = "{site.url}/login"'
        session = open_with(site.url, 'proxy = "p"', before=before, login=login)
        assert session.proxy == dead
        session.ensure_login()
        assert session.proxy == f"http://me:secret@{place}"
        again = open_with(site.url, 'proxy = "p"', before=before, login=login)
        assert again.proxy == session.proxy
        again.ensure_login()
    assert site.logins == 1


def test_threads_that_report_one_dead_proxy_rest_only_that_one(open_with: OpenSession, tmp_path: Path) -> None:
    session = open_with("http://127.0.0.1/", 'proxy = "p"',
                        before='[proxies]\np = ["http://a:1", "http://b:1", "http://c:1"]')
    assert [session.change_proxy("http://a:1") for _ in range(5)] == [True] * 5
    assert session.proxy == "http://b:1"
    assert not open_with("http://127.0.0.1/").change_proxy(None)


def test_a_pool_without_a_working_proxy_raises_its_last_error(site: Site, open_with: OpenSession, tmp_path: Path) -> None:
    urls = [f"http://u:geheim@127.0.0.1:{free_port()}" for _ in range(3)]
    session = open_with(site.url, 'proxy = "p"', before=f"[proxies]\np = {json.dumps(urls)}",
                        login=f'url = "{site.url}/login"')
    with pytest.raises(ProxyError, match=urls[2].rpartition(":")[2]):
        session.ensure_login()
    assert site.log == []
    kept = tmp_path / "var/jars/s.proxy"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "geheim" not in kept.read_text()


def test_a_proxy_that_fails_rests_longer_each_time(tmp_path: Path) -> None:
    file = LocalFile(tmp_path / "s.proxy")
    pool = ProxyPool(("http://a:1", "http://b:1"), file)
    assert pool.choose(0) == "http://a:1"
    assert pool.failed(0)
    assert pool.choose(0) == "http://b:1"
    assert not pool.failed(10)
    assert pool.choose(10) == "http://a:1"  # all rest; this one is up first
    assert pool.choose(65) == "http://a:1"
    assert not pool.failed(65)
    assert ProxyPool(("http://a:1", "http://b:1"), file).choose(100) == "http://b:1"
    pool = ProxyPool(("http://a:1", "http://b:1"), file)
    assert pool.choose(184) == "http://b:1"
    pool.worked()
    assert pool.failed(190)
    assert pool.choose(190) == "http://a:1"
    for _ in range(20):
        pool.failed(1000)
    assert ProxyPool(("http://a:1",), file).choose(1000) == "http://a:1"
    assert json.loads(file.path.read_text())["health"]["http://a:1"]["resting_until_s"] == 4600


@pytest.mark.parametrize("text", ["", "{", "[]", '{"current": 1, "health": {"x": 3}}'])
def test_a_damaged_pool_file_is_ignored(tmp_path: Path, text: str) -> None:
    file = LocalFile(tmp_path / "s.proxy")
    file.path.write_text(text)
    assert ProxyPool(("http://a:1", "http://b:1"), file).choose(0) == "http://a:1"


def test_check_connect_tries_every_proxy_of_a_pool(program: Program) -> None:
    with PageSite({"/": "<p>x</p>"}) as site, start_http_proxy("me:geheim") as good, start_http_proxy("me:other") as strict:
        dead = free_port()
        program.write(f"""
            [proxies]
            p = ["http://me:geheim@{good}", "http://me:geheim@{strict}", "socks5h://127.0.0.1:{dead}"]
            [spiders.s]
            start = "{site.url}/"
            proxy = "p"
            """)
        found = program.run("check", "--connect")
    said = found.stdout + found.stderr
    assert found.returncode != 0
    assert f"{strict}: the proxy refused the user name or password" in said
    assert f"127.0.0.1:{dead}: the proxy is down" in said
    assert said.count(f"(http://{good}) for spiders.s") == 1
    assert len(site.asked) == 1
    assert "geheim" not in said


def test_status_shows_the_proxies_that_rest(tmp_path: Path, open_with: OpenSession) -> None:
    from datetime import UTC, datetime

    from pipeline.heartbeat.snapshot.build import build_snapshot
    from pipeline.heartbeat.snapshot.spider_status import DueTimes
    from pipeline.settings import load
    from pipeline.store import open_store
    session = open_with("http://127.0.0.1/", 'proxy = "p"', before='[proxies]\np = ["http://u:geheim@a:1", "http://b:1"]')
    assert session.change_proxy(session.proxy)
    settings = load(tmp_path / "settings.toml")
    store = open_store(settings.data_dir)
    now = datetime.now(UTC)
    found = build_snapshot(store, settings, DueTimes({}, now, now), version="1")
    store.close()
    (resting,) = found["resting_proxies"]
    assert (resting["spider"], resting["proxy"], resting["failures"]) == ("s", "http://a:1", 1)
    assert "geheim" not in str(found)
