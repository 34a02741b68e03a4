"""Details pages, pagination, duplicate links, time limits, and rejected items."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, parse_qsl

import pytest

from pipeline.model import Outcome
from pipeline.store.crawl import items
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, Asked, PageSite

LISTING = """
    [spiders.s.items]
    each = "li"
    key = ["url"]
    fields = { name = "a", url = "a::attr(href)" }
"""


def test_an_item_is_committed_once_with_its_details_page(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": "<li><a href=/1>One</a></li><li><a href=/2>Two</a></li><li><a href=/3>Three</a></li><li><b>x</b></li>",
                  "/1": "<p class=price>1,5</p><h1>First</h1>", "/2": Answer("gone", 404), "/3": Answer("no", 403)}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"' + LISTING + """
        [spiders.s.items.details]
        link = "a"
        [spiders.s.items.details.fields]
        price = { css = ".price", type = "number" }
        name = "h1"
    """)
    run = crawls.run()
    assert crawls.items() == {f"{site.url}/1": {"name": "First", "url": f"{site.url}/1", "price": 1.5},
                              f"{site.url}/2": {"name": "Two", "url": f"{site.url}/2"}}
    assert (run.progress.new, run.progress.changed, run.progress.rejected, run.complete) == (2, 0, 1, True)
    ((reject,),) = [list(items.rejected(crawls.store, "s"))]
    assert (reject.reason, reject.url) == ("the details page responded with HTTP 403", f"{site.url}/3")
    site.pages["/1"] = Answer("down", 503)
    again = crawls.run()
    assert (again.progress.unchanged, again.progress.gone, again.complete) == (1, 0, False)


@pytest.mark.parametrize(("param", "asked"), [
    ('param = "page"', ["/?page=2&q=x", "/?page=3&q=x", "/?q=x"]),
    ('param = "page"\nlimit = 2', ["/?page=2&q=x", "/?q=x"]),
    ('param = "from"\nfirst = 0\nstep = 20', ["/?from=20&q=x", "/?from=40&q=x", "/?q=x"])])
def test_pagination_by_number_or_offset_ends_with_the_first_page_without_items(
        crawls: Crawls, site: PageSite, param: str, asked: list[str]) -> None:
    def page(ask: Asked) -> Answer:
        number = parse_qs(ask.path.partition("?")[2])
        at = int(number.get("page", ["1"])[0]) + int(number.get("from", ["0"])[0]) // 20
        return Answer(f"<li><a href=/{at}>{at}</a></li>" if at < 3 else "<p>no more</p>")

    site.pages = {"/": page}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/?q=x"\n[spiders.s.pages]\n{param}\n' + LISTING)
    run = crawls.run()
    assert sorted("/?" + "&".join(sorted(path[2:].split("&"))) for path in site.paths()) == asked
    assert run.complete
    assert len(crawls.items()) == 2


def test_pagination_ends_when_a_site_repeats_its_last_page_for_ever(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": "<li><a href=/1>1</a></li>"}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\n[spiders.s.pages]\nparam = "page"\n' + LISTING)
    crawls.run()
    assert site.paths() == ["/", "/?page=2"]


def test_pagination_by_cursor_in_json_keeps_the_secret_out_of_the_store(
        crawls: Crawls, site: PageSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "s3cret-key")

    def page(ask: Asked) -> Answer:
        at = json.loads(ask.body)["query"].get("after")
        following = {None: "b", "b": "c", "c": None}[at]
        return Answer(json.dumps({"rows": [{"id": f"row {at}"}], "next": following}), headers={"Content-Type": "application/json"})

    site.pages = {"/api": page}
    crawls.write(f"""
        [spiders.s]
        start = {{ url = "{site.url}/api", json = {{ query = {{ size = 1 }} }}, headers = {{ X-Key = {{ env = "KEY" }} }} }}
        [spiders.s.pages]
        param = "query.after"
        where = "json"
        cursor = {{ jmes = "next" }}
        [spiders.s.items]
        each = {{ jmes = "rows" }}
        key = ["id"]
        fields = {{ id = {{ jmes = "id" }} }}
    """)
    assert crawls.run().complete
    assert sorted(crawls.items()) == ["row None", "row b", "row c"]
    posted = [asked for asked in site.asked if asked.path == "/api"]
    assert [json.loads(asked.body)["query"] for asked in posted] == [
        {"size": 1}, {"size": 1, "after": "b"}, {"size": 1, "after": "c"}]
    assert {(asked.method, asked.headers["X-Key"]) for asked in posted} == {("POST", "s3cret-key")}
    database = b"".join(path.read_bytes() for path in (crawls.folder / "data").glob("pipeline.sqlite3*"))
    assert b"s3cret-key" not in database


def test_pagination_by_a_form_sends_the_state_of_the_page_before(crawls: Crawls, site: PageSite) -> None:
    """As in ASP.NET: the first page is a GET, each other page is a POST with the hidden fields of the page before."""
    def grid(asked: Asked) -> Answer:
        sent = dict(parse_qsl(asked.body.decode()))
        number = int(sent.get("page", 1))
        if number > 1 and sent.get("__STATE") != f"<{number - 1}> +&":
            return Answer("the state is lost", 400)
        rows = "".join(f"<li><b>{number}-{n}</b></li>" for n in range(2) if number < 4)
        return Answer(f"<form><input type=hidden name=__STATE value='wrong'></form><form id=grid>{rows}"
                      f"<input type=hidden name=__STATE value='&lt;{number}&gt; +&amp;'></form>")

    site.pages = {"/": grid}
    crawls.write(f"""
        [spiders.s]
        start = "{site.url}/"
        pages = {{ param = "page", where = "form", state = "form#grid" }}
        [spiders.s.items]
        each = "li"
        key = ["id"]
        fields = {{ id = "b" }}
    """)
    run = crawls.run()
    assert (run.outcome, run.complete) == (Outcome.SUCCEEDED, True), run.error
    assert sorted(crawls.items()) == [f"{page}-{n}" for page in (1, 2, 3) for n in (0, 1)]
    assert [asked.method for asked in site.asked if asked.path == "/"] == ["GET", "POST", "POST", "POST"]


def test_pagination_by_a_field_of_a_form(crawls: Crawls, site: PageSite) -> None:
    def page(ask: Asked) -> Answer:
        at = parse_qs(ask.body.decode())["p"][0]
        return Answer(f"<li><a href=/{at}>{at}</a></li>" if at < "3" else "")

    site.pages = {"/": page}
    crawls.write(f'[spiders.s]\nstart = {{ url = "{site.url}/", form = {{ q = "ü", p = "1" }} }}\n'
                 '[spiders.s.pages]\nparam = "p"\nwhere = "form"\n' + LISTING)
    crawls.run()
    assert [asked.body for asked in site.asked if asked.path == "/"] == [b"q=%C3%BC&p=1", b"q=%C3%BC&p=2", b"q=%C3%BC&p=3"]


def test_urls_that_differ_in_order_or_tracking_parameters_are_fetched_once(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": "<a href='/p?b=1&a=2&utm_source=x'></a><a href='/p?a=2&b=1#x'></a><a href='/p?a=2&b=1&gclid=1'></a>"
                       "<a href=/no/1></a>", "/p": "<p>x</p>"}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nfollow = ["a"]\ndeny = ["/no/"]\n[spiders.s.items.fields]\nx = "p"')
    crawls.run()
    assert site.paths() == ["/", "/p?b=1&a=2"]


def test_a_run_that_reaches_max_time_succeeds_and_is_not_complete(crawls: Crawls, site: PageSite) -> None:
    site.pages = {f"/{n}": f"<p>{n}</p><a href=/{n + 1}>n</a>" for n in range(3000)}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/0"\nfollow = ["a"]\nmax_time = "1s"\n[spiders.s.items.fields]\nx = "p"')
    run = crawls.run()
    assert (run.outcome, run.complete, run.error) == (Outcome.SUCCEEDED, False, "stopped at max_time = 1 s")
    assert 0 < run.progress.pages < 3000


def test_an_item_that_is_rejected_is_kept_with_its_reason_and_is_not_gone(crawls: Crawls, site: PageSite) -> None:
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\n[spiders.s.items]\neach = "li"\nkey = ["url"]\n'
                 '[spiders.s.items.fields]\nurl = "a::attr(href)"\nprice = { css = "b", type = "number", required = true }')
    site.pages = {"/": "<li><a href=/1></a><b>5</b></li><li><a href=/2></a><b>6</b></li>"}
    crawls.run()
    site.pages = {"/": "<li><a href=/1></a><b>ask</b></li><li><a href=/2></a><b>7</b></li>"}
    run = crawls.run()
    assert (run.progress.rejected, run.progress.gone, run.complete, run.suspect) == (1, 0, True, False)
    ((reject,),) = [list(items.rejected(crawls.store, "s", key=f"{site.url}/1"))]
    assert reject.reason.startswith("price: 'ask' is not a number")
    assert [change.kind for change in items.changes(crawls.store, "s", key=f"{site.url}/2")] == ["new", "changed"]


def test_ignored_fields_and_small_steps_are_stored_without_a_change(crawls: Crawls, site: PageSite) -> None:
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\n[spiders.s.items]\neach = "li"\nkey = ["url"]\nignore = ["views"]\n'
                 'min_change = { price = "5%" }\n[spiders.s.items.fields]\nurl = "a::attr(href)"\nviews = "i"\n'
                 'price = { css = "b", type = "number" }')
    for price, views in ((100, 1), (103, 2), (106, 3)):
        site.pages = {"/": f"<li><a href=/1></a><b>{price}</b><i>{views}</i></li>"}
        run = crawls.run()
        assert crawls.items()[f"{site.url}/1"]["views"] == str(views)
    assert [(change.kind, change.fields, change.before["price"]) for change in crawls.changes(run)] == [
        ("changed", ["price"], 100)]


def test_text_with_nul_and_lone_surrogates_is_stored(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": Answer('{"id": "a\\ud800b\\u0000", "n": 1e999}', headers={"Content-Type": "application/json"})}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\n[spiders.s.items]\nkey = ["id"]\n[spiders.s.items.fields]\n'
                 'id = { jmes = "id" }\nn = { jmes = "n", type = "json" }')
    assert crawls.run().outcome is Outcome.SUCCEEDED
    assert list(crawls.items().values()) == [{"id": "a\ufffdb\ufffd", "n": None}]
