"""The SSRF guard: which addresses are private, in every form, and which of them the settings allow."""

from __future__ import annotations

import pytest

from pipeline.errors import FetchError
from pipeline.session.politeness.ssrf_guard import SsrfGuard, is_public


@pytest.mark.parametrize("address", [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "fec0::1", "feff::1", "::127.0.0.1", "::10.0.0.1", "::8.8.8.8",
    "::ffff:0:127.0.0.1", "64:ff9b:1::7f00:1", "64:ff9b:1::808:808", "2001::1", "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "2001:db8::1", "3fff::1", "2001:2::1", "2001:10::1", "100::1", "5f00::1", "ff0e::1", "fd00::1", "2002:a00:1::1",
    "2a00:1450::5efe:7f00:1", "2a00:1450::200:5efe:a00:1", "4000::1", "198.18.0.1", "198.51.100.1", "203.0.113.9", "192.0.2.1",
    "192.0.0.9", "192.88.99.1", "240.0.0.1", "239.1.1.1", "fec0::1%eth0", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
    "fd00:ec2::254"])
def test_private_addresses_are_private_in_every_form(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "2002:808:808::1", "64:ff9b::808:808",
                                     "2a00:1450:4001::200e", "2001:4860:4860::8888", "2400:cb00::1", "2a00:1450::5efe:808:808"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("url", [
    "http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0x7f.1/", "http://017700000001/",
    "http://localhost/", "http://LOCALHOST./", "http://x.localhost:8000/", "http://[::1]/", "http://[::ffff:127.0.0.1]/",
    "http://169.254.169.254/latest/meta-data", "https://10.0.0.5:8443/", "http://0/"])
def test_every_spelling_of_a_private_address_is_refused(url: str) -> None:
    with pytest.raises(FetchError, match="private address"):
        SsrfGuard(["https://shop.example/", "127.0.0.1:8080"]).check_url(url)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a.example/", "gopher://a.example/", "data:text/html,x"])
def test_only_http_and_https_are_fetched(url: str) -> None:
    with pytest.raises(FetchError, match="only http and https"):
        SsrfGuard(["a.example"]).check_url(url)


def test_a_private_host_is_allowed_only_with_its_port() -> None:
    ssrf_guard = SsrfGuard(["http://127.0.0.1:8080/x", "192.168.1.5", "router.example:81"])
    ssrf_guard.check_url("http://127.0.0.1:8080/other")
    ssrf_guard.check_url("https://192.168.1.5/")
    ssrf_guard.check_address("router.example", 81, "192.168.1.1")
    for url in ("http://127.0.0.1:8081/", "http://192.168.1.5:22/"):
        with pytest.raises(FetchError):
            ssrf_guard.check_url(url)
    with pytest.raises(FetchError, match=r'router\.example:80.*add "router\.example:80" to this spider'):
        ssrf_guard.check_address("router.example", 80, "192.168.1.1")
