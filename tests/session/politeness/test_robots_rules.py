"""robots.txt is parsed by RFC 9309, and as in Google's parser where the RFC leaves room."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from pipeline.session.politeness.robots_rules import RobotsRules

CASES = json.loads((Path(__file__).parents[2] / "data" / "robots-google.json").read_text())["cases"]
# Google compares octets as they are written; RFC 9309, 2.2.2, compares them as they are meant.
AGAINST_THE_RFC = [("ID_Encoding", "http://foo.bar/foo/bar/ツ"), ("ID_Encoding", "http://foo.bar/foo/bar/baz")]


@pytest.mark.parametrize("case", [case for case in CASES if (case["test"], case["url_latin1"]) not in AGAINST_THE_RFC],
                         ids=lambda case: f"{case['test']} {case['agent']} {case['url_latin1']}")
def test_a_case_of_googles_parser(case: dict[str, str]) -> None:
    assert RobotsRules(case["robots_latin1"].encode(), case["agent"]).allows(case["url_latin1"]) == case["allowed"]


def test_139_of_the_142_cases_of_googles_parser_agree() -> None:
    right = [case for case in CASES if RobotsRules(case["robots_latin1"].encode(), case["agent"]).allows(
        case["url_latin1"]) == case["allowed"]]
    assert (len(CASES), len(right)) == (142, 139)


def allows(text: str | bytes, path: str) -> bool:
    return RobotsRules(text if isinstance(text, bytes) else text.encode(), "crawl-to-inbox").allows(f"http://h{path}")


@pytest.mark.parametrize("agent", [
    "crawl-to-inbox", "Crawl-To-Inbox", "crawl-to-inbox BAR", "crawl-to-inbox/1.0", "  crawl-to-inbox  # us", "crawl-to-inbox*"])
def test_an_agent_line_matches_by_its_product_token(agent: str) -> None:
    assert not allows(f"User-agent: {agent}\nDisallow: /x\n\nUser-agent: *\nDisallow: /y", "/x")
    assert allows(f"User-agent: {agent}\nDisallow: /x\n\nUser-agent: *\nDisallow: /y", "/y")


@pytest.mark.parametrize("agent", ["crawl-to", "inbox", "crawl-to-inboxes", "*bot", ""])
def test_another_agent_does_not_match(agent: str) -> None:
    assert allows(f"User-agent: {agent}\nDisallow: /x\n\nUser-agent: *\nDisallow: /y", "/x")
    assert not allows(f"User-agent: {agent}\nDisallow: /x\n\nUser-agent: *\nDisallow: /y", "/y")


@pytest.mark.parametrize("body", [
    b"\xef\xbb\xbfUser-agent: *\nDisallow: /x", "User-agent: *\nDisallow: /x".encode("utf-16"), b"user-agent:*\rdisallow:/x",
    b"User-agent: *\r\nDisallow: /x\r\n", b"User-agent : *\nDisallow : /x", b"Useragent: *\nDissallow: /x", b"user-agent *\ndisallow /x",
    b"User-agent: a\nUser-agent: *\nDisallow: /x", b"User-agent: a\nfoo: bar\n\nSitemap: /s\nUser-agent: *\nDisallow: /x",
    b"User-agent: *\n\xff\xfe: \x00\nDisallow: /x", b"User-agent: * # all\nDisallow: /x # secret", b"User-agent: *\n\nDisallow: /x",
    b"User-agent: *\nDisallow: /y\n\nUser-agent: *\nDisallow: /x", b"\nUser-agent: *\nhost: h\nNoindex: /z\nDisallow: /x"])
def test_unusual_files_are_parsed(body: bytes) -> None:
    assert not allows(body, "/x/y")
    assert allows(body, "/z")


@pytest.mark.parametrize(("pattern", "path", "matches"), [
    ("/a b", "/a%20b", False), ("/a%20b", "/a%20b", True), ("/%7Eu", "/~u", True), ("/~u", "/%7eu", True), ("/ü", "/%C3%BC", True),
    ("/%c3%bc", "/%C3%BC", True), ("/a%2Fb", "/a/b", False), ("/a%2fb", "/a%2Fb", True), ("/a/b", "/a%2Fb", False),
    ("/a-%2A.html", "/a-*.html", True), ("/a-%24", "/a-$", True), ("/*", "/", True), ("*", "/x", True), ("*.gif", "/a.gif", True),
    ("/a*b*c", "/abc", True), ("/a*b*c", "/acb", False), ("/a*a$", "/a", False), ("/a*a$", "/aa", True), ("/a$", "/a?x", False),
    ("/a$b", "/a", False), ("/a$b", "/a$b", True), ("/**x", "/yx", True), ("/?q", "?q=1", True), ("/$", "/", True), ("/$", "", True),
    ("x", "/x", False), ("/?*a=", "/?b&a=1", True), ("/a?$", "/a?", True)])
def test_patterns_match_paths_byte_by_byte(pattern: str, path: str, matches: bool) -> None:
    assert allows(f"User-agent: *\nDisallow: {pattern}", path) is not matches


def test_the_longer_rule_wins_and_of_equals_the_one_that_allows() -> None:
    rules = "User-agent: *\nDisallow: /a\nAllow: /a/b\nDisallow: /a/b/c$\nDisallow: /same\nAllow: /same"
    assert [allows(rules, path) for path in ("/a", "/a/b/x", "/a/b/c", "/same")] == [False, True, False, True]


@pytest.mark.parametrize(("text", "delay_s"), [
    ("User-agent: *\nCrawl-delay: 2.5", 2.5), ("User-agent: *\nCrawl-delay: 2\nUser-agent: crawl-to-inbox\nCrawl-delay: 7", 7),
    ("User-agent: *\nCrawl-delay: 2\nUser-agent: crawl-to-inbox\nDisallow:", None), ("User-agent: *\nCrawl-delay: soon", None),
    ("User-agent: *\nCrawl-delay: nan", None), ("User-agent: *\nCrawl-delay: -1", None), ("User-agent: *\nCrawl-delay: inf", None),
    ("User-agent: x\nCrawl-delay: 9\n\nUser-agent: *\nCrawl-delay: 1", 1), ("", None)])
def test_the_crawl_delay_is_that_of_the_matching_group(text: str, delay_s: float | None) -> None:
    assert RobotsRules(text.encode(), "crawl-to-inbox").delay_s == delay_s


def test_hostile_rules_are_matched_in_little_time() -> None:
    begun = time.process_time()
    for pattern in ("/" + "*a" * 50_000, "/" + "a*" * 50_000, "/" + "%" * 100_000, "/" + "$" * 100_000):
        allows(f"User-agent: *\nDisallow: {pattern}", "/" + "a" * 8000)
    assert time.process_time() - begun < 5
