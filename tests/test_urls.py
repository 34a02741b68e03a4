"""Tests of link resolution, including the URL tests of the web platform."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.urls import absolute, bare, base_of, is_http, redirect_target, target_of, without_anchor

CASES = json.loads((Path(__file__).parent / "data" / "urltestdata-http.json").read_text())["cases"]
URL = "http://site.example/dir/page"


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case["input"])[:60])
def test_the_url_tests_of_the_web_platform_pass(case: dict[str, str]) -> None:
    leads_nowhere = case["failure"] or not case["href"].startswith("http")
    assert absolute(case["input"], case["base"] or "") == ("" if leads_nowhere else case["href"].partition("#")[0])


@pytest.mark.parametrize(("link", "expected"), [
    ("x#top", "http://site.example/dir/x"), ("//Other.EXAMPLE/A", "http://other.example/A"), ("?q=1", f"{URL}?q=1"),
    (" \n/a\tb ", "http://site.example/ab"), ("mailto:x", ""), ("javascript:void(0)", ""), ("http://[::1", ""),
    ("http://h:99999999/", ""), ("http://h", "http://h/"), ("a b", "http://site.example/dir/a%20b"), ("x" * 10_000, ""),
    ("/a/../b", "http://site.example/b"), ("/a/%2E%2e/b", "http://site.example/b"), ("/%2", "http://site.example/%2"),
    ("\\x", "http://site.example/x"), ("http:/x", "http://site.example/x"), ("http:///x", "http://x/"), ("///x", "http://x/"),
    ("https:/h/p", "https://h/p"), ("/~u;v=1,2?a[]=1&b=|%zz", "http://site.example/~u;v=1,2?a[]=1&b=|%zz"),
    ("/'?'", "http://site.example/'?%27"), ('/"^`{}?"^`{}', "http://site.example/%22%5E%60%7B%7D?%22^`{}"),
    ("/?", "http://site.example/?"), ("http://h:80/x", "http://h/x"), ("http://H/x", "http://h/x"),
    ("http://0x7f.1/x", "http://127.0.0.1/x"), ("http://2130706433/x", "http://127.0.0.1/x"), ("http://127.1/x", "http://127.0.0.1/x"),
    ("http://１２７.0.0.1/x", "http://127.0.0.1/x"), ("http://256.256.256.256/x", ""), ("http://1.2.3.4.5/x", ""),
    ("http://a%zz/x", ""), ("http://a b/", ""), ("http://a<b/", ""), ("http:///", ""), ("http://", ""),
    ("http://bücher.example/ü", "http://xn--bcher-kva.example/%C3%BC"), ("http://h\u00ad/", "http://h/"),
    ("\ud800", "http://site.example/dir/%EF%BF%BD"), ("/\0x", "http://site.example/%00x"), ("ftp://h/x", ""), ("", URL)])
def test_links_are_made_absolute(link: str, expected: str) -> None:
    assert absolute(link, URL) == expected


@pytest.mark.parametrize(("link", "expected"), [
    ("#/products", f"{URL}#/products"), ("/#!/a?b=1&c", "http://site.example/#!/a?b=1&c"), ("x#top", "http://site.example/dir/x"), ("#", URL), ("#!", f"{URL}#!"),
    ("/#/ü x", "http://site.example/#/%C3%BC%20x"), ("#access_token=secret", URL), ("javascript:void(0)#/x", "")])
def test_routes_of_rendered_pages_are_kept_and_other_fragments_are_not(link: str, expected: str) -> None:
    assert absolute(link, URL, routes=True) == expected
    assert absolute(link, URL) == expected.partition("#")[0]
    assert without_anchor(expected) == expected


@pytest.mark.parametrize(("location", "url", "target"), [
    ("https://site.example/", "http://site.example/#/a", "https://site.example/#/a"), ("/b#/c", "http://site.example/#/a", "http://site.example/b#/c"),
    ("/b", "http://site.example/#top", "http://site.example/b"), ("/b#/c", "http://site.example/", "http://site.example/b"), ("mailto:x", "http://site.example/#/a", "")])
def test_a_redirect_keeps_the_route_of_a_page(location: str, url: str, target: str) -> None:
    assert redirect_target(location, url) == target


@pytest.mark.parametrize("url", ["http://site.example", "HTTP://SITE.example:80/x", "http://site.example/a?b#c"])
def test_a_rooted_link_starts_at_the_normal_form_of_its_pages_host(url: str) -> None:
    assert absolute("/x", url) == "http://site.example/x"


@pytest.mark.parametrize(("link", "encoding", "expected"), [
    ("?q=книги", "windows-1251", "?q=%EA%ED%E8%E3%E8"), ("?é=日", "iso-8859-1", "?%E9=%26%2326085%3B"),
    ("?q=é", "utf-16-le", "?q=%C3%A9"), ("?q=é", "no-such", "?q=%C3%A9"), ("?q=é#ü", "latin-1", "?q=%E9"),
    ("?q=表", "shift_jis", "?q=%95\\"), ("?q=日", "iso-2022-jp", "?q=%1B$BF|%1B(B"), ("?q=日", "euc_jp", "?q=%C6%FC"),
    ("?q=%e9é 'x' %", "latin-1", "?q=%e9%E9%20%27x%27%20%"), ("? é\t\n ", "latin-1", "?%20%E9"), ("?q=日本", "gb18030", "?q=%C8%D5%B1%BE"),
    ("é?q", "latin-1", "/dir/%C3%A9?q"), ("#é?é", "latin-1", "/dir/page")])
def test_a_query_is_sent_in_the_encoding_of_its_page_and_the_path_in_utf_8(link: str, encoding: str, expected: str) -> None:
    start = URL if expected.startswith("?") else "http://site.example"
    assert absolute(link, URL, encoding) == start + expected


@pytest.mark.parametrize(("href", "link", "expected"), [
    ("/other/", "x", "http://site.example/other/x"), ("//cdn.example", "x", "http://cdn.example/x"), ("http://[", "x", "http://site.example/dir/x"),
    ("data:text/html,x", "x", "http://site.example/dir/x"), ("javascript:1", "x", "http://site.example/dir/x"),
    ("ftp://h/", "x", ""), ("", "x", "http://site.example/dir/x")])
def test_links_start_from_the_base_that_a_page_names(href: str, link: str, expected: str) -> None:
    assert absolute(link, base_of(href, URL)) == expected


@pytest.mark.parametrize(("location", "expected"), [
    ("/ü?ü".encode(), "http://site.example/%C3%BC?%C3%BC"), ("/ü?ü".encode("latin-1"), "http://site.example/%FC?%FC"),
    ("/ü", "http://site.example/%FC"), ("/a b", "http://site.example/a%20b"), ("//other.example", "http://other.example/"),
    ("http://bücher.example/".encode(), "http://xn--bcher-kva.example/"), ("?a#b", f"{URL}?a"), ("http://h:99x90/", ""), ("about:blank", ""),
    ("x" * 9000, "")])
def test_a_location_header_is_resolved_as_browsers_do(location: bytes | str, expected: str) -> None:
    assert redirect_target(location, URL) == expected


def test_request_targets_and_bare_urls_are_computed() -> None:
    assert target_of("http://u:p@h:1/a/b?c=/d#e") == "/a/b?c=/d"
    assert target_of("http://h/?") == "/?"
    assert bare("http://u:p@h:1/a@b?c#d") == "http://h:1/a@b?c"
    assert bare("http://h/") == "http://h/"
    assert [bare(url) for url in ("about:blank", "about:blank#a", "data:,a@b", "blob:https://u@h/1")] == ["about:blank", "about:blank", "data:,a@b", "blob:https://h/1"]


@pytest.mark.parametrize(("text", "expected"), [
    ("http://site.example", True), ("HTTPS://site.example/a?b#c", True), ("http://[::1]:8/", True), ("ftp://site.example/", False), ("site.example", False),
    ("http:///a", False), ("http://[::1/", False), ("//site.example/", False), ("javascript:x", False), ("", False)])
def test_an_absolute_http_url_is_told_from_other_texts(text: str, expected: bool) -> None:
    assert is_http(text) is expected
