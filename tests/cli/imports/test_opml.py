"""`pipeline import opml`: feeds of a feed reader become spiders that run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.cli.imports.conftest import Importer
from tests.servers.pages import Answer, PageSite

FEED = ("<rss version='2.0'><channel><title>News</title><item><title>First</title><link>http://news.example/1</link><guid>1</guid></item></channel></rss>")


def test_feeds_become_spiders_with_their_folders_as_tags(imports: Importer, copied: Callable[..., Path], site: PageSite) -> None:
    tables = imports("opml", copied("feeds.opml"), "--to", "me@site.example")
    site.pages = {"/feed.xml": Answer(FEED, headers={"Content-Type": "application/rss+xml"})}
    assert "3 spiders, 1 digest: no problems" in imports.checked()
    imports.ran("zeitung-fur-alle")
    item, = map(json.loads, imports.program.run("items", "zeitung-fur-alle").stdout.splitlines())
    assert (item["title"], item["url"]) == ("First", "http://news.example/1")
    assert tables["spiders"]["zeitung-fur-alle"] == {
        "spider": "feed", "tags": ["Nachrichten"], "schedule": "every 6h", "start": [f"{site.url}/feed.xml"]}
    assert tables["spiders"]["blog-co"] == {
        "spider": "feed", "tags": ["Nachrichten", "Technik", "tech", "python", "go"], "schedule": "every 6h", "start": ["https://blog.example/rss"]}
    assert tables["digests"]["opml"] == {"spiders": ["zeitung-fur-alle", "blog-co", "private"], "to": ["me@site.example"]}


def test_whatever_is_no_feed_is_named(imports: Importer, copied: Callable[..., Path], site: PageSite) -> None:
    tables = imports("opml", copied("feeds.opml"), "--to", "me@site.example")
    assert tables["spiders"]["private"]["start"] == ["https://private.example/feed?n=5"]
    for line in (f"outline 3: not carried over: the feed {site.url}/feed.xml is in the file twice; see [spiders.zeitung-fur-alle]",
                 "outline 4 (only a link): not carried over: it has no xmlUrl", "outline 6: not carried over: its URL begins with ftp:",
                 "outline 5 -> private: url: token: the parameter looks like a secret",
                 "the file is not valid XML (line 8), and was read as far as possible"):
        assert line in imports.out, line
        assert line.rpartition(": ")[2] in imports.text
    assert "t0ken" not in imports.text + imports.out


def test_without_a_recipient_the_digest_is_a_comment(imports: Importer, copied: Callable[..., Path]) -> None:
    tables = imports("opml", copied("feeds.opml"))
    assert "digests" not in tables
    assert '# to = ["me@example.com"]' in imports.text
    imports.checked()


def test_the_recipients_of_the_alerts_get_the_digest(imports: Importer, copied: Callable[..., Path]) -> None:
    imports.program.write('[alerts]\nto = ["admin@site.example"]\n')
    assert imports("opml", copied("feeds.opml"))["digests"]["opml"]["to"] == ["admin@site.example"]


def test_a_second_import_overwrites_nothing_and_takes_other_names(imports: Importer, copied: Callable[..., Path]) -> None:
    file = copied("feeds.opml")
    imports("opml", file, "--to", "me@site.example")
    again = imports.program.run("import", "opml", str(file), "--write")
    assert again.returncode == 2
    assert "the file already exists and was not changed; remove it, or give another name with --name" in again.stderr
    tables = imports("opml", file, "--name", "more", "--to", "me@site.example")
    assert list(tables["spiders"]) == ["zeitung-fur-alle-2", "blog-co-2", "private-2"]
    imports.checked()


def test_without_write_the_settings_are_printed_and_no_settings_file_is_needed(imports: Importer, copied: Callable[..., Path]) -> None:
    (imports.program.folder / "settings.toml").unlink()
    done = imports.program.run("import", "opml", str(copied("feeds.opml")))
    assert done.returncode == 0
    assert "[spiders.blog-co]" in done.stdout
    assert "outline 6: not carried over" in done.stderr
    assert not (imports.program.folder / "settings.d").exists()
