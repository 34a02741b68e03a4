"""The built-in spider `watch`: the text of a page line by line, without noise."""

from __future__ import annotations

import pytest

from pipeline.crawl.extract.page_text import is_html, page_text, plain_text
from pipeline.errors import SettingsError
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, PageSite


def page(body: str) -> str:
    return f"<title>The  page</title><nav>menu</nav><div id=a>{body}</div><script>x = 1</script>"


def test_the_text_of_a_page_has_the_lines_that_a_reader_sees() -> None:
    html = """<h1>A <b>bold</b>
        title</h1><p>one<br>two<style>p {}</style><ul><li>x<li>y</ul><table><tr><td>1<td>2</tr><tr><th>3</table><!-- no -->"""
    assert page_text(html).splitlines() == ["A bold title", "one", "two", "x", "y", "1 | 2", "3"]


def test_a_part_of_a_page_is_watched_and_its_noise_is_ignored(crawls: Crawls, site: PageSite) -> None:
    crawls.write(f"""
        [spiders.s]
        spider = "watch"
        start = "{site.url}/"
        [spiders.s.watch]
        part = "#a"
        ignore = ["^Visitors: \\\\d+$", "\\\\(\\\\d+ min ago\\\\)"]
    """)
    site.pages = {"/": page("<p>first (5 min ago)</p><p>Visitors: 7</p>")}
    run = crawls.run()
    assert list(crawls.items().values()) == [{"url": f"{site.url}/", "name": "The page", "text": "first"}]
    site.pages = {"/": page("<p>first (9 min ago)</p>\n\n<div>Visitors: 8</div>")}
    assert crawls.run().progress.unchanged == 1
    site.pages = {"/": page("<p>first</p><p>second</p>")}
    run = crawls.run()
    ((change,),) = [crawls.changes(run)]
    assert (change.before["text"], change.after["text"]) == ("first", "first\nsecond")


def test_a_page_without_the_watched_part_is_no_change(crawls: Crawls, site: PageSite) -> None:
    crawls.write(f'[spiders.s]\nspider = "watch"\nstart = ["{site.url}/1", "{site.url}/2"]\nwatch = {{ part = "#a" }}')
    site.pages = {"/1": page("x"), "/2": page("y")}
    crawls.run()
    site.pages = {"/1": page("x"), "/2": "<p>Please come back later</p>"}
    run = crawls.run()
    assert (run.progress.rejected, run.progress.changed, run.progress.gone) == (1, 0, 0)


@pytest.mark.parametrize(("text", "rejected"), [("<h1>Status</h1><p>All systems operational</p>", 0), ("", 1), ("Loading…", 1)])
def test_a_short_page_of_a_framework_is_watched_if_it_has_text(crawls: Crawls, site: PageSite, text: str, rejected: int) -> None:
    crawls.write(f'[spiders.s]\nspider = "watch"\nstart = "{site.url}/"')
    site.pages = {"/": f"<body>{text}<noscript>Enable JavaScript</noscript><div id=root></div><script src=/static/js/main.js></script>"}
    assert crawls.run().progress.rejected == rejected


def test_text_and_json_are_watched_unchanged(crawls: Crawls, site: PageSite) -> None:
    crawls.write(f"""
        [spiders.s]
        spider = "watch"
        start = "{site.url}/v"
        watch = {{ part = {{ jmes = "version" }}, name = {{ page = "url" }} }}
    """)
    site.pages = {"/v": Answer('{"version": "1.2", "at": 5}', headers={"Content-Type": "application/json"})}
    crawls.run()
    assert list(crawls.items().values()) == [{"url": f"{site.url}/v", "name": f"{site.url}/v", "text": "1.2"}]


@pytest.mark.parametrize(("html", "lines"), [
    ("<p>a\n b</p><pre>one\n  <b>two</b> x\n\nthree &lt;T&gt;</pre><td>c<textarea>\nd\n\n\ne</textarea>f",
     ["a b", "one", "  two x", "", "three <T>", "c", "d", "", "", "e", "f"]),
    ("x<pre>\n\na</pre>y", ["x", "", "a", "y"]), ("<pre>a\n</pre>b", ["a", "b"]), ("<pre>a\n\n</pre>b", ["a", "", "b"]),
    ("<pre>a\r\n \t\r\nb</pre>", ["a", "", "b"]), ("<pre>a&#10;&#10;b</pre>", ["a", "", "b"]), ("<pre></pre><pre>  </pre>b", ["b"]),
    ("<pre>a<br><br>b</pre>c<br><br>d", ["a", "", "b", "c", "d"]), ("<pre><code><i>a</i>\n\n<i>b</i></code></pre>", ["a", "", "b"]),
    ("<pre><div>a</div><div></div><div>b</div></pre>", ["a", "b"]), ("<textarea>\n\na\n\nb</textarea>", ["", "a", "", "b"]),
    ("<listing>\na\n\nb</listing>", ["a", "", "b"]), ("<xmp>a\n\n<b></xmp>", ["a", "", "<b>"]), ("a<plaintext>b\n\n<c>", ["a", "b", "", "<c>"]),
    ("<table><tr><td><pre>a\n\nb</pre><td>c</table>", ["a", "", "b", "c"]), ("<p>a\n\n\nb</p>\n\n<p>c", ["a b", "c"])])
def test_pre_and_textarea_keep_their_lines_and_blank_lines(html: str, lines: list[str]) -> None:
    assert page_text(html).split("\n") == lines


def test_blank_lines_of_code_are_kept_in_a_part_and_with_ignored_noise(crawls: Crawls, site: PageSite) -> None:
    crawls.write(f"""
        [spiders.s]
        spider = "watch"
        start = "{site.url}/"
        watch = {{ part = "#a", ignore = ["^# built .*"] }}
    """)
    site.pages = {"/": page("<pre class=c>\n\na\n# built 1\n\nb</pre>")}
    crawls.run()
    assert [item["text"] for item in crawls.items().values()] == ["\na\n\nb"]
    site.pages = {"/": page("<pre class=c>\n\na\n# built 2\n\nb</pre>")}
    assert crawls.run().progress.unchanged == 1
    site.pages = {"/": page("<pre class=c>\n\na\nb</pre>")}
    assert crawls.run().progress.changed == 1


@pytest.mark.parametrize(("text", "kind", "expected"), [
    ("<p>x", "text/html; charset=utf-8", True), ("<p>x", "text/plain", False), ("<!DOCTYPE html><p>x", "", True),
    ("\ufeff <!-- c --><html lang=en>", "application/octet-stream", True), ("a: b<c>", "application/octet-stream", False),
    ('<?xml version="1.0"?><rss/>', "text/xml", False), ('<?xml version="1.0"?><rss/>', "", False),
    ('<?xml version="1.0"?>\n<html xmlns="http://www.w3.org/1999/xhtml">', "application/xml", True),
    ("<p>x", "application/xhtml+xml", True), ("<p>x", "application/json", False), ("# T", "text/markdown", False)])
def test_a_response_is_a_page_when_browsers_show_it_as_one(text: str, kind: str, expected: bool) -> None:
    assert is_html(text, kind) is expected


def test_a_text_keeps_its_lines_with_any_kind_of_line_end() -> None:
    assert plain_text("\ufeffa \r\n\r\n  b\rc\n\n") == "a\n\n  b\nc"


TEXT = "Changes\n\n2.1  Vec<T> is iterable\n    indented & kept"


def test_a_text_that_is_not_html_is_watched_line_by_line(crawls: Crawls, site: PageSite) -> None:
    kinds = {"/CHANGES.txt": "text/plain; charset=utf-8", "/a%20b.yml": "application/octet-stream", "/x.yaml": "application/yaml",
             "/notes.md": "text/markdown", "/data.json": "application/json", "/x.xml": "text/plain", "/y.xml": "application/xml",
             "/t.csv": "text/csv", "/run.sh": "application/x-sh"}
    body = {"/data.json": '{\n  "a": "<x>"\n}'} | dict.fromkeys(("/x.xml", "/y.xml"), '<?xml version="1.0"?>\n<r>\n  <s n="a">1</s>\n</r>')
    crawls.write('[spiders.s]\nspider = "watch"\nstart = ' + str([f"{site.url}{path}" for path in kinds]))
    site.pages = {path: Answer(body.get(path, TEXT) + "\n", headers={"Content-Type": kind}) for path, kind in kinds.items()}
    crawls.run()
    found = {item["url"].removeprefix(site.url): item for item in crawls.items().values()}
    assert {path: item["text"] for path, item in found.items()} == {path: body.get(path, TEXT) for path in kinds}
    assert (found["/CHANGES.txt"]["name"], found["/a%20b.yml"]["name"]) == ("CHANGES.txt", "a b.yml")
    site.pages["/CHANGES.txt"] = Answer(TEXT.replace("\n", "\r\n").replace("Vec<T>", "Vec<U>"), headers={"Content-Type": "text/plain"})
    run = crawls.run()
    assert (run.progress.changed, run.progress.unchanged) == (1, len(kinds) - 1)


@pytest.mark.parametrize("kind", ["application/octet-stream", "text/plain", "image/png", "application/zip"])
def test_binary_content_is_reported_and_not_stored(crawls: Crawls, site: PageSite, kind: str) -> None:
    crawls.write(f'[spiders.s]\nspider = "watch"\nstart = "{site.url}/x"')
    site.pages = {"/x": Answer(b"PK\x03\x04\x00\x00\xff\xfe\x00", headers={"Content-Type": kind})}
    assert (crawls.run().progress.rejected, crawls.items()) == (1, {})


def test_elements_are_removed_before_the_text_is_compared(crawls: Crawls, site: PageSite) -> None:
    crawls.write(f"""
        [spiders.s]
        spider = "watch"
        start = "{site.url}/"
        [spiders.s.watch]
        without = ["nav", ".ad, .clock", "nav b", "#gone"]
    """)
    site.pages = {"/": page("<p>first<i class=clock>12:00</i></p><div class=ad>buy <div class=ad>now</div></div>")}
    run = crawls.run()
    assert [item["text"] for item in crawls.items().values()] == ["first"]
    assert crawls.counts(run) == {"watch.without[0]": (1, 1, 1, 0), "watch.without[1]": (1, 1, 3, 0), "watch.without[2]": (1, 0, 0, 0),
                                  "watch.without[3]": (1, 0, 0, 0)}
    site.pages = {"/": page("<p>first<i class=clock>12:01</i></p>").replace("menu", "<b>another menu</b>")}
    assert crawls.run().progress.unchanged == 1


@pytest.mark.parametrize("wrong", ["p::text", "p[", "//p", ""])
def test_only_selectors_of_elements_can_be_removed(crawls: Crawls, wrong: str) -> None:
    with pytest.raises(SettingsError, match=r"watch\.without"):
        crawls.write(f'[spiders.s]\nspider = "watch"\nstart = "http://a.example/"\nwatch = {{ without = ["{wrong}"] }}')
