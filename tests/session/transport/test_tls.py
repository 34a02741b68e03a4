"""TLS verification, ca_file, unverified hosts, and the translation of requests' exceptions."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import requests
import trustme

from pipeline.errors import PipelineError, TlsError, UsageError
from pipeline.session import Session, translate
from tests.servers.authority import Authority
from tests.servers.ports import free_port
from tests.servers.site import Site, start_site
from tests.session.conftest import OpenSession


def context(leaf: trustme.LeafCert) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(made)
    return made


def fault(session: Session, url: str) -> PipelineError:
    with session.client() as client, pytest.raises(requests.RequestException) as caught:
        client.get(url)
    return translate(caught.value, url, session.proxy)


def test_a_sites_own_authority_is_trusted_when_ca_file_names_it(authority: Authority, open_with: OpenSession) -> None:
    with start_site(context(authority.issue())) as site:
        with open_with(site.url, f'ca_file = "{authority.ca_file}"').client() as client:
            assert client.get(site.url).ok
        error = fault(open_with(site.url), site.url)
        assert str(error) == (f"{site.url}: the server's certificate is not trusted: unable to get local issuer certificate; "
                              "if the site uses a private certificate authority, set `ca_file` to the authority's certificate")


def test_an_expired_certificate_is_reported(authority: Authority, open_with: OpenSession) -> None:
    with start_site(context(authority.issue(expired=True))) as site:
        session = open_with(site.url, f'ca_file = "{authority.ca_file}"', login=f'url = "{site.url}/login"')
        with pytest.raises(TlsError) as caught:
            session.ensure_login()
        assert str(caught.value) == (f"{site.url}/login: the server's certificate is not trusted: certificate has expired; "
                                     "the owner of the site must renew the certificate (or this machine's clock is wrong)")
        assert not caught.value.retry
        assert caught.value.exit_code == 5
        assert site.log == []


def test_another_hosts_certificate_is_reported(authority: Authority, open_with: OpenSession) -> None:
    with start_site(context(authority.issue(host="other.example"))) as site:
        error = fault(open_with(site.url, f'ca_file = "{authority.ca_file}"'), site.url)
        assert "IP address mismatch" in str(error)
        assert "the certificate is for another host" in str(error)


def test_only_the_named_host_is_unverified(authority: Authority, open_with: OpenSession) -> None:
    with start_site(context(authority.issue(host="other.example"))) as site:
        session = open_with(site.url, "insecure_tls = true")
        with session.client() as client:
            assert client.get(site.url).ok
        elsewhere = site.url.replace("127.0.0.1", "localhost")
        assert isinstance(fault(session, elsewhere), TlsError)
        assert session.ssl_context().verify_mode is ssl.CERT_NONE
        assert session.ssl_context("localhost").verify_mode is ssl.CERT_REQUIRED


def test_unverified_hosts_can_be_named(authority: Authority, open_with: OpenSession) -> None:
    with start_site(context(authority.issue(host="other.example"))) as site:
        named = open_with(site.url, 'insecure_tls = ["localhost"]')
        assert isinstance(fault(named, site.url), TlsError)  # the start URL is not among the named hosts
        with named.client() as client:
            assert client.get(site.url.replace("127.0.0.1", "localhost")).ok


def test_plain_http_on_a_tls_port_is_reported(site: Site, open_with: OpenSession) -> None:
    url = site.url.replace("http:", "https:")
    assert "the server does not speak TLS on this port" in str(fault(open_with(url), url))


def test_an_invalid_ca_file_is_reported(tmp_path: Path, open_with: OpenSession) -> None:
    (tmp_path / "empty.pem").write_text("no certificate")
    with pytest.raises(UsageError, match="the file contains no PEM certificates"):
        open_with("https://127.0.0.1/", 'ca_file = "empty.pem"').ssl_context()
    with pytest.raises(UsageError, match="No such file"):
        open_with("https://127.0.0.1/", 'ca_file = "none.pem"').ssl_context()


@pytest.mark.parametrize(("url", "words", "retry"), [
    ("http://u:geheim@127.0.0.1:{port}/?token=geheim",
     "http://127.0.0.1:{port}/?token=•••: cannot connect to the server: Connection refused", True),
    ("http://no-such-host.invalid/", "the host name cannot be resolved", True),
    ("ftp://127.0.0.1/", "the URL, or the URL to which it redirects, cannot be requested", False)])
def test_the_error_of_an_unavailable_site_has_no_credentials(open_with: OpenSession, url: str, words: str,
                                                               retry: bool) -> None:
    port = free_port()
    error = fault(open_with(f"http://127.0.0.1:{port}"), url.format(port=port))
    assert words.format(port=port) in str(error)
    assert "geheim" not in str(error)
    assert error.retry is retry


def test_a_redirect_to_another_scheme_is_reported(site: Site, open_with: OpenSession) -> None:
    error = fault(open_with(site.url), f"{site.url}/redirect?to=file:///etc/passwd")
    assert "only http and https URLs are fetched" in str(error)


def test_every_exception_of_requests_is_translated() -> None:
    def kinds(base: type[Exception]) -> list[type[Exception]]:
        return [base, *(found for kind in base.__subclasses__() for found in kinds(kind))]

    for kind in kinds(requests.RequestException):
        made = kind.__new__(kind)
        Exception.__init__(made, "Max retries exceeded with url: /?password=geheim")
        for proxy in (None, "http://u:geheim@127.0.0.1:1"):
            error = translate(made, "http://u:geheim@site.example/", proxy)
            assert isinstance(error, PipelineError)
            assert "geheim" not in str(error)


def test_a_redirect_to_a_dead_host_names_that_host(site: Site, open_with: OpenSession) -> None:
    port = free_port()
    dead = f"http://localhost:{port}/"
    session = open_with(site.url, f'hosts = ["localhost:{port}"]')
    assert f"{dead}: cannot connect to the server" in str(fault(session, f"{site.url}/redirect?to={dead}"))
