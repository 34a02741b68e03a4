"""Tests of the links from changes in a mail to the archived pages before and after them."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from lxml import html

from tests.archive.exchanges import exchange
from tests.mail.conftest import NOW
from tests.mail.render.test_files import body, mails


def links_of(mail) -> list[tuple[str, str]]:
    found = [(link.text, link.get("href")) for link in html.fromstring(body(mail, "html")).iter("a") if "/archive/" in link.get("href")]
    assert all(url in body(mail) for _, url in found), "the text has the same links"
    return found


def test_each_change_links_to_its_archived_page_and_to_the_one_before(store, site, settings_from) -> None:
    settings = settings_from(digest='[heartbeat]\npublic_url = "https://news.example"')
    page = exchange("/list?day=1&lang=de", at=NOW)
    site.run({"a": {"price": 1}, "b": {"price": 2}}, exchanges=[page])
    mail, = mails(store, settings, slot="first")
    assert [(text, urlsplit(url).path, parse_qs(urlsplit(url).query)["url"]) for text, url in links_of(mail)] == [("Archived page", "/archive/books", [page.url])] * 2
    changed = site.run({"a": {"price": 3}}, exchanges=[page])
    mail, = mails(store, settings, slot="second")
    query = {"url": [page.url], "at": [f"{changed.started_at:%Y-%m-%dT%H:%M:%S.%f}Z"], "before_run": [str(changed.id)]}
    assert [(text, urlsplit(url).path, parse_qs(urlsplit(url).query)) for text, url in links_of(mail)] == [
        ("Archived pages before and after", "/archive/books/compare", query)] * 2, "the item that is gone was last on the same page"


def test_a_change_without_an_archived_page_or_whose_page_no_mail_may_name_has_no_link(store, site, settings_from) -> None:
    public = '[heartbeat]\npublic_url = "https://news.example"'
    for number, (digest, exchanges) in enumerate([(public, []), ("", [exchange("/", at=NOW)]), (public, [exchange("/?access_token=abc", at=NOW)])]):
        site.run({f"new {found}": {"price": 1} for found in range(number + 1)}, exchanges=exchanges)
        mail, = mails(store, settings_from(digest=digest), slot=f"{number}")
        assert links_of(mail) == []
