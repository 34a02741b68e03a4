"""A watched page: its text line by line, without its noise."""

from __future__ import annotations

from pipeline.crawl.text import page_text
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, PageSite


def page(body: str) -> str:
    return f"<title>The  page</title><nav>menu</nav><div id=a>{body}</div><script>x = 1</script>"


def test_text_is_what_a_reader_sees_line_by_line() -> None:
    html = """<h1>A <b>bold</b>
        title</h1><p>one<br>two<style>p {}</style><ul><li>x<li>y</ul><table><tr><td>1<td>2</tr><tr><th>3</table><!-- no -->"""
    assert page_text(html).splitlines() == ["A bold title", "one", "two", "x", "y", "1 | 2", "3"]


def test_a_part_is_watched_and_its_noise_ignored(crawls: Crawls, site: PageSite) -> None:
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


def test_a_page_without_its_part_is_no_change(crawls: Crawls, site: PageSite) -> None:
    crawls.write(f'[spiders.s]\nspider = "watch"\nstart = ["{site.url}/1", "{site.url}/2"]\nwatch = {{ part = "#a" }}')
    site.pages = {"/1": page("x"), "/2": page("y")}
    crawls.run()
    site.pages = {"/1": page("x"), "/2": "<p>Please come back later</p>"}
    run = crawls.run()
    assert (run.progress.rejected, run.progress.changed, run.progress.gone) == (1, 0, 0)


def test_text_and_json_are_watched_as_they_are(crawls: Crawls, site: PageSite) -> None:
    crawls.write(f"""
        [spiders.s]
        spider = "watch"
        start = "{site.url}/v"
        watch = {{ part = {{ jmes = "version" }}, name = {{ page = "url" }} }}
    """)
    site.pages = {"/v": Answer('{"version": "1.2", "at": 5}', headers={"Content-Type": "application/json"})}
    crawls.run()
    assert list(crawls.items().values()) == [{"url": f"{site.url}/v", "name": f"{site.url}/v", "text": "1.2"}]
