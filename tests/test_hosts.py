"""Tests of the normal form in which hosts are compared."""

from __future__ import annotations

import pytest

from pipeline.hosts import HostSet, host_and_port, host_of, normal_host, place_of


@pytest.mark.parametrize(("written", "host", "port"), [
    ("http://site.example/a", "site.example", 80),
    ("https://site.example/a", "site.example", 443),
    ("HTTPS://Site.Example:443/a", "site.example", 443),
    ("http://site.example:/a", "site.example", 80),
    ("http://site.example:8080", "site.example", 8080),
    ("http://site.example?x=http://other.example/", "site.example", 80),
    ("http://site.example#a/b", "site.example", 80),
    ("http://site.example./a", "site.example", 80),
    ("http://user:pass@site.example/a", "site.example", 80),
    ("http://user@other.example@site.example/", "site.example", 80),
    ("http://Müller.example/", "xn--mller-kva.example", 80),
    ("http://MÜLLER.example/", "xn--mller-kva.example", 80),
    ("http://xn--mller-kva.example/", "xn--mller-kva.example", 80),
    ("http://m%C3%BCller.example/", "xn--mller-kva.example", 80),
    ("http://ｓｉｔｅ.example/", "site.example", 80),
    ("http://日本。example/", "xn--wgv71a.example", 80),
    ("http://[::1]:8080/", "::1", 8080),
    ("http://[0:0:0:0:0:0:0:1]/", "::1", 80),
    ("http://127.1/", "127.0.0.1", 80),
    ("http://a_b.lan/", "a_b.lan", 80),
    ("//site.example/a", "site.example", 0),
    ("http://site.example\\@other.example/", "", 0),
    ("http://site.example:99999/", "", 0),
    ("http://site.example:80x/", "", 0),
    ("http:///a", "", 0),
    ("http://a b/", "", 0),
    ("mailto:me@site.example", "", 0),
    ("", "", 0),
])
def test_a_url_has_one_host_and_one_port_however_it_is_written(written: str, host: str, port: int) -> None:
    assert host_and_port(written) == (host, port)
    assert host_of(written) == host


@pytest.mark.parametrize(("host", "normal"), [
    ("Files.LAN", "files.lan"), ("files.lan.", "files.lan"), ("[::1]", "::1"), ("::1", "::1"), ("Straße.de", "xn--strae-oqa.de"),
    ("", ""), ("a/b", ""), ("a b", "")])
def test_a_host_alone_has_the_same_form(host: str, normal: str) -> None:
    assert normal_host(host) == normal


@pytest.mark.parametrize(("url", "place"), [
    ("http://Site.example:80/x", "site.example"), ("https://site.example:80/", "site.example:80"),
    ("https://u@site.example:443/", "site.example"), ("http://[::1]:81/", "[::1]:81"), ("http://müller.lan/", "xn--mller-kva.lan"),
    ("nonsense", "")])
def test_a_host_is_written_as_in_the_settings(url: str, place: str) -> None:
    assert place_of(url) == place


@pytest.mark.parametrize(("place", "inside", "outside"), [
    ("https://site.example/start", ["http://site.example/", "https://SITE.example.:443/a", "http://u:p@site.example:80"],
     ["http://www.site.example/", "http://site.example:8080/"]),
    ("http://site.example:8080/", ["https://site.example:8080/"], ["http://site.example/"]),
    ("files.lan", ["http://files.lan/", "https://files.lan/"], ["http://files.lan:8090/"]),
    ("files.lan:443", ["https://files.lan/"], ["http://files.lan/"]),
    ("Müller.example", ["http://xn--mller-kva.example/", "http://müller.EXAMPLE/"], ["http://muller.example/"]),
    ("[::1]:8090", ["http://[0:0::1]:8090/"], ["http://[::1]/"]),
    ("not a host", [], ["http:///", "http://not/"]),
])
def test_a_host_set_decides_whether_a_url_is_in_it(place: str, inside: list[str], outside: list[str]) -> None:
    places = HostSet([place])
    assert [url for url in inside if url not in places] == []
    assert [url for url in outside if url in places] == []
