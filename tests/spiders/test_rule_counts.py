"""What each rule matched is counted in the transaction of its page.

A rule that matched nothing is named in the run's line.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pipeline.crawl.rule_notes import lost_pages, nothing_found, rule_notes
from pipeline.settings import SpiderTable
from pipeline.store.crawl import items
from pipeline.store.crawl.compare import Coverage, RuleCount
from pipeline.store.crawl.rule_counts import Usual, is_far_under
from pipeline.store.runs import runs
from pipeline.store.runs.leases import TTL
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, PageSite

ROWS = "".join(f"<li class=book><a href=/book/{{0}}{number}>Book {{0}}{number}</a> <b>{number}.50</b></li>" for number in range(4))
DETAILS = {f"/book/{page}{number}": f"<p id=stock>{number}</p><a href=/{page}.pdf>read</a>" for page in (1, 2, 3) for number in range(4)}
SHOP = {f"/{page}": f"<ul>{ROWS.format(page)}</ul>" + (f"<a class=next href=/{page + 1}>next</a>" if page < 3 else "")
        for page in (1, 2, 3)} | DETAILS
FEED = '<rss version="2.0"><channel><title>T</title></channel></rss>'
SITEMAP = "<urlset></urlset>"


def write(crawls: Crawls, site: PageSite, *, start: str = "/1", rules: str = 'follow = [".next"]', items: str = "") -> None:
    table = f"[spiders.s.items]\n{items}" if items else ""
    crawls.write(f'[spiders.s]\nstart = "{site.url}{start}"\nrobots = false\n{rules}\n{table}')


def test_every_rule_is_counted_on_the_pages_to_which_it_is_applied(crawls: Crawls, site: PageSite) -> None:
    site.pages = dict(SHOP)
    write(crawls, site, rules='follow = [".next"]\ndownload = ["a[href$=pdf]", ".file"]\ndeny = ["/9"]', items="""
        each = ".book"
        key = ["title"]
        fields = { title = "a", price = "b", mark = { css = "i", default = "none" } }
        details = { link = "a", fields = { stock = "#stock" } }""")
    run = crawls.run()
    assert crawls.counts(run) == {
        "items.each": (3, 3, 12, 0), "items.fields.title": (3, 3, 12, 12), "items.fields.price": (3, 3, 12, 12),
        "items.fields.mark": (3, 0, 0, 12), "items.details.link": (3, 3, 12, 12), "items.details.fields.stock": (12, 12, 12, 12),
        "follow": (3, 2, 2, 0), "allow": (2, 2, 2, 0), "download[0]": (15, 12, 12, 0), "download[1]": (15, 0, 0, 0)}
    assert run.error == "`items.fields.mark` matched nothing in 12 items; `download[1]` matched nothing on 15 pages"
    assert not run.suspect


def test_a_page_that_has_not_changed_is_counted_as_well(crawls: Crawls, site: PageSite) -> None:
    def page(asked: object) -> Answer:
        return Answer(SHOP["/3"], 304 if site.asked[-1].headers.get("If-None-Match") else 200, {"ETag": '"a"'})

    site.pages = {"/3": page}
    write(crawls, site, start="/3", rules="", items='each = ".book"\nkey = ["title"]\nfields = { title = "a" }')
    assert crawls.counts(crawls.run()) == crawls.counts(crawls.run())
    assert len(site.asked) == 2


EACH = 'each = ".book"\nkey = ["title"]\n'
MISTAKES = {
    "each": ({"items": 'each = ".boook"\nfields = { title = "a" }'}, "`items.each` matched nothing on 3 pages"),
    "the whole page": ({"items": 'fields = { title = "h1" }'}, "`items` matched nothing on 3 pages"),
    "all fields": ({"items": 'each = ".book"\nfields = { title = "h1", price = "h2" }'},
                   "`items.each` matched on 3 pages, but all fields are empty in each match"),
    "required": ({"items": EACH + 'fields = { title = "a", price = { css = "s", required = true } }'},
                 "all 12 items were rejected: price: the field is required, but was not found"),
    "key": ({"items": 'each = ".book"\nkey = ["isbn"]\nfields = { title = "a", isbn = "i" }'},
            "all 12 items were rejected: the item's key field isbn is empty"),
    "download": ({"rules": 'download = ["a.pdf"]'}, "`download` matched nothing on 1 page"),
    "follow": ({"rules": 'follow = ["a.nxt"]'}, "`follow` matched nothing on 1 page"),
    "not text": ({"start": "/file", "rules": 'download = ["a"]'}, "no page is text to which the rules can be applied"),
    "part": ({"rules": 'spider = "watch"\nwatch = { part = "#nope" }'}, "`watch.part` matched nothing on 1 page"),
    "feed": ({"start": "/feed", "rules": 'spider = "feed"'}, "the feed has no entry"),
    "sitemap": ({"start": "/sitemap", "rules": 'spider = "sitemap"'}, "the sitemap has no entry"),
    "filtered sitemap": ({"start": "/full", "rules": 'spider = "sitemap"\nallow = ["/no"]'},
                         "`allow` and `deny` leave none of the URLs in the sitemap"),
}


@pytest.mark.parametrize(("options", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_run_that_finds_nothing_is_suspect_from_the_first_one(crawls: Crawls, site: PageSite, options: dict[str, str], said: str) -> None:
    site.pages = {**SHOP, "/feed": FEED, "/sitemap": SITEMAP, "/file": Answer(b"\0\1\2", headers={"Content-Type": "application/zip"}),
                  "/full": f"<urlset><url><loc>{site.url}/1</loc></url></urlset>"}
    write(crawls, site, **options)
    run = crawls.run()
    assert (run.outcome, run.suspect, run.error.split("; ")[0]) == ("succeeded", True, said)
    write(crawls, site, **options | {"rules": options.get("rules", "") + "\nallow_empty = true"})
    run = crawls.run()
    assert (run.outcome, run.suspect) == ("succeeded", False)


NOTES = {
    "field": ({"items": EACH + 'fields = { title = "a", price = "s" }'}, "`price` is empty in 12 of 12 items"),
    "fields": ({"items": EACH + 'fields = { title = "a", price = "s", stock = "u" }'}, "`price` and `stock` are empty in 12 of 12 items"),
    "a share of 0 is stated": ({"items": EACH + 'fields = { title = "a", price = "s" }\ncoverage = { price = 0 }'}, ""),
    "details": ({"items": EACH + 'fields = { title = "a" }\ndetails = { link = "a", fields = { stock = "#no" } }'},
                "`stock` is empty in 12 of 12 items"),
    "link": ({"items": EACH + 'fields = { title = "a" }\ndetails = { link = "s", fields = { stock = "#stock" } }'},
             "`items.details.link` matched nothing in 12 items"),
    "follow": ({"rules": 'follow = ["a.nxt"]', "items": EACH + 'fields = { title = "a" }'}, "`follow` matched nothing on 1 page"),
    "allow": ({"rules": 'follow = ["a.next"]\nallow = ["/pages/"]', "items": EACH + 'fields = { title = "a" }'},
              "`allow` and `deny` leave none of the links"),
    "cursor": ({"rules": 'pages = { param = "c", cursor = "#no" }', "items": EACH + 'fields = { title = "a" }'},
               "`pages.cursor` matched nothing on 1 page"),
    "the last page": ({"rules": 'pages = { param = "p" }', "start": "/3", "items": EACH + 'fields = { title = "a" }'}, ""),
    "name": ({"rules": 'spider = "watch"\nwatch = { name = "h1" }'}, "`watch.name` matched nothing on 1 page"),
}


@pytest.mark.parametrize(("options", "said"), NOTES.values(), ids=NOTES)
def test_a_rule_that_matches_nothing_is_named_in_the_run(crawls: Crawls, site: PageSite, options: dict[str, str], said: str) -> None:
    site.pages = dict(SHOP)
    write(crawls, site, **options)
    run = crawls.run()
    assert (run.outcome, run.suspect, run.error) == ("succeeded", False, said)


def test_a_pass_that_goes_on_after_a_kill_is_judged_as_a_whole(crawls: Crawls, site: PageSite) -> None:
    """The first page, which has all the items, is committed by a process that is killed; its counts are there, and only once."""
    site.pages = {"/1": f"<ul>{ROWS.format(1)}</ul><a class=next href=/2>next</a>", "/2": Answer("busy", 503)}
    write(crawls, site, rules='follow = [".next"]\nretries = 0', items=EACH + 'fields = { title = "a" }')
    killed = crawls.run(die=True)
    runs.abandon_expired(crawls.store, now=datetime.now(UTC) + TTL)
    site.pages["/2"] = "<p>the last page</p>"
    run = crawls.run()
    assert (run.pass_id, run.suspect, run.complete, run.error) == (killed.pass_id, False, True, "")
    assert crawls.counts(run)["items.each"] == (2, 1, 4, 0)


def test_a_complete_pass_that_lost_its_further_pages_reports_nothing_as_gone_once(crawls: Crawls, site: PageSite) -> None:
    site.pages = dict(SHOP)
    write(crawls, site, items=EACH + 'fields = { title = "a" }')
    assert crawls.run().progress.new == 12
    site.pages["/1"] = SHOP["/1"].replace("class=next", "class=forward")
    for suspect, gone in ((True, 0), (False, 8)):
        run = crawls.run()
        assert (run.suspect, run.progress.gone) == (suspect, gone)
    site.pages["/1"] = SHOP["/1"]
    assert crawls.run().progress.back == 8


@pytest.mark.parametrize(("found", "of", "usual", "expected"), [
    (0, 10, 1.0, True), (4, 10, 1.0, True), (5, 10, 1.0, False), (0, 2, 1.0, False), (0, 10, 0.05, False), (0, 100, 0.2, True),
    (0, 10, 0.2, False), (9, 100, 0.2, False), (70, 183, 0.98, True), (0, 0, 0.9, False)])
def test_a_share_is_far_under_the_usual_one_if_it_is_less_than_half_and_no_accident(found: int, of: int, usual: float,
                                                                                    expected: bool) -> None:
    assert is_far_under(found, of, usual) is expected


def table(**values: object) -> SpiderTable:
    return SpiderTable.model_validate({"start": "http://shop.example/", "items": {"fields": {"price": "b", "title": "a"}}} | values)


def test_a_field_or_rule_far_under_its_usual_share_is_named() -> None:
    usual = Usual(fields={"price": 0.98, "title": 1.0}, rules={"items": 0.9}, pages_matched={}, passes=5)
    coverage = Coverage(183, {"price": 12, "title": 183}, {"items": RuleCount(30, 30, 30, 0)})
    assert list(rule_notes(table(), coverage, usual)) == ["`price` is filled in 12 of 183 items, usually in 98%"]
    coverage = replace(coverage, fields={"price": 0, "title": 183}, rules={"items": RuleCount(30, 4, 4, 0)})
    assert list(rule_notes(table(), coverage, usual)) == ["`price` is empty in 183 of 183 items"]
    each = table(items={"each": "li", "fields": {"price": "b"}})
    coverage = Coverage(4, {"price": 4}, {"items.each": RuleCount(30, 4, 4, 0)})
    assert list(rule_notes(each, coverage, replace(usual, rules={"items.each": 0.9}))) == [
        "`items.each` matched on 4 of 30 pages, usually on 90%"]


def test_that_a_listing_has_no_further_page_is_said_only_in_the_first_pass(crawls: Crawls, site: PageSite) -> None:
    site.pages = dict(SHOP)
    write(crawls, site, start="/3", items=EACH + 'fields = { title = "a" }')
    assert [crawls.run().error for _ in range(2)] == ["`follow` matched nothing on 1 page", ""]


def test_a_page_without_matches_is_named_if_the_rule_has_always_matched_on_all_pages() -> None:
    each = table(items={"each": "li", "fields": {"price": "b"}})
    coverage = Coverage(40, {"price": 40}, {"items.each": RuleCount(3, 2, 40, 0)})
    assert list(rule_notes(each, coverage, Usual(rules={"items.each": 1.0}))) == ["`items.each` matched on 2 of 3 pages, usually on 100%"]
    assert list(rule_notes(each, coverage, Usual(rules={"items.each": 0.9}))) == []


def test_a_field_that_is_seldom_filled_is_not_named_when_it_is_empty_in_a_small_pass() -> None:
    usual = Usual(fields={"price": 0.05}, passes=5)
    assert list(rule_notes(table(), Coverage(10, {"price": 0, "title": 10}), usual)) == []


def test_numbered_pages_that_end_after_the_first_one_are_lost() -> None:
    before = Coverage(100, {}, {"pages": RuleCount(11, 10, 10, 0)})
    assert lost_pages(Coverage(10, {}, {"pages": RuleCount(2, 1, 1, 0)}), before).startswith("`pages` matched on 1 page, although")
    assert lost_pages(Coverage(100, {}, {"pages": RuleCount(2, 1, 1, 0)}), before) == ""
    assert lost_pages(Coverage(90, {}, {"pages": RuleCount(10, 9, 9, 0)}), before) == ""


def test_a_list_of_two_pages_lost_the_second_one_if_the_first_one_is_still_full() -> None:
    before = Coverage(11, {}, {"items.each": RuleCount(2, 2, 11, 0), "follow": RuleCount(2, 1, 1, 0)})
    for found, expected in ((6, "`follow` matched on 0 pages, although it matched on 1 page in the previous pass"), (4, "")):
        assert lost_pages(Coverage(found, {}, {"items.each": RuleCount(1, 1, found, 0), "follow": RuleCount(1, 0, 0, 0)}), before) == expected


def test_a_pass_without_items_has_lost_no_pages() -> None:
    before = Coverage(30, {}, {"items.each": RuleCount(3, 3, 30, 0), "follow": RuleCount(3, 2, 2, 0)})
    assert lost_pages(Coverage(0, {}, {"items.each": RuleCount(1, 0, 0, 0), "follow": RuleCount(1, 0, 0, 0)}), before) == ""
    files = Coverage(0, {}, {"download": RuleCount(3, 3, 9, 0), "follow": RuleCount(3, 2, 2, 0)})
    assert lost_pages(Coverage(0, {}, {"download": RuleCount(1, 1, 3, 0), "follow": RuleCount(1, 0, 0, 0)}), files).startswith("`follow` matched")


def test_a_spider_written_in_python_may_find_nothing() -> None:
    assert nothing_found(table(spider="shop:Spider"), Coverage()) == ""


SHELL = "<!doctype html><html><body><noscript>Enable JavaScript</noscript><div id=root></div><script src=/main.js></script></body></html>"
NEEDS_SCRIPTS = ("the page builds its content with JavaScript, which needs a browser; set `render`, or look for a feed or a JSON URL that the page "
                 "loads")
CHALLENGE = "<html><title>Just a moment...</title><body>Enable JavaScript and cookies to continue<script>_cf_chl_opt={}</script></body></html>"


@pytest.mark.parametrize(("page", "options", "said"), [
    (SHELL, {"items": EACH + 'fields = { title = "a" }'}, f"`items.each` matched nothing on 1 page; {NEEDS_SCRIPTS}"),
    (SHELL, {"rules": 'spider = "watch"'}, f"the only item was rejected: {NEEDS_SCRIPTS}"),
    (SHELL, {"rules": 'spider = "watch"\nwatch = { part = "#list" }'}, f"`watch.part` matched nothing on 1 page; {NEEDS_SCRIPTS}"),
    (CHALLENGE, {"items": EACH + 'fields = { title = "a" }'}, ("`items.each` matched nothing on 1 page; the page is the challenge of a bot "
     "protection; log in with a browser and import its cookies with `pipeline cookies import`, or set `proxy`"))])
def test_a_page_that_needs_a_browser_is_named_in_the_run(crawls: Crawls, site: PageSite, page: str, options: dict[str, str], said: str) -> None:
    site.pages = {"/1": page}
    write(crawls, site, **options)
    run = crawls.run()
    assert (run.outcome, run.suspect) == ("succeeded", True)
    assert run.error.startswith(said)


def test_a_page_that_needs_a_browser_is_only_a_note_if_a_pass_may_be_empty(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/1": SHELL}
    write(crawls, site, rules='follow = ["a"]\nallow_empty = true', items=EACH + 'fields = { title = "a" }')
    run = crawls.run()
    assert (run.outcome, run.suspect, run.error.startswith(NEEDS_SCRIPTS)) == ("succeeded", False, True)


def test_items_of_a_page_that_now_needs_javascript_are_not_gone(crawls: Crawls, site: PageSite) -> None:
    site.pages = dict(SHOP)
    write(crawls, site, items=EACH + 'fields = { title = "a" }')
    assert crawls.run().progress.new == 12
    site.pages["/3"] = SHELL
    run = crawls.run()
    assert (run.complete, run.progress.gone, run.error) == (
        False, 0, f"{NEEDS_SCRIPTS} ({site.url}/3); `items.each` matched on 2 of 3 pages, usually on 100%")


def test_a_rejected_item_counts_once_in_a_pass(crawls: Crawls, site: PageSite) -> None:
    """The same four items are on two pages, one of them without a key; the pass needs two runs."""
    rows = ROWS.format(1) + "<li class=book><s>lost</s></li>"
    site.pages = {"/1": f"<ul>{rows}</ul><a class=next href=/2>next</a>", "/2": f"<ul>{rows}</ul><a class=next href=/3>next</a>",
                  "/3": Answer("busy", 503)}
    write(crawls, site, rules='follow = [".next"]\nretries = 0', items=EACH + 'fields = { title = "a", mark = "s", isbn = { css = "i", required = true } }')
    first = crawls.run(die=True)
    assert len(list(items.rejected(crawls.store, "s"))) == 5
    runs.abandon_expired(crawls.store, now=datetime.now(UTC) + TTL)
    site.pages["/3"] = f"<ul>{rows}</ul>"
    run = crawls.run()
    assert (run.pass_id, run.progress.rejected) == (first.pass_id, 0)
    assert run.error == "all 5 items were rejected: isbn: the field is required, but was not found"
    assert [each.key for each in items.rejected(crawls.store, "s")][:4] == [f"Book 1{number}" for number in range(4)]


PYTHON = """
import scrapy

class Shop(scrapy.Spider):
    def parse(self, response):
        return [{"title": name, "price": None} for name in response.css(".book a::text").getall()]
"""


@pytest.mark.parametrize(("page", "rules", "said"), [
    (SHOP["/1"], 'spider = "shop:Shop"', "`price` is empty in 4 of 4 items"),
    ("<p>nothing</p>", 'spider = "shop:Shop"', "the spider yielded no item and no file"),
    ("<p>nothing</p>", 'spider = "shop:Shop"\nallow_empty = true', ""),
    (SHOP["/1"], "", "the spider has no rules: add `items`, `download` or `follow`")])
def test_a_spider_without_rules_says_what_it_did_not_yield(crawls: Crawls, site: PageSite, page: str, rules: str, said: str) -> None:
    (crawls.folder / "shop.py").write_text(PYTHON)
    site.pages = {"/1": page}
    write(crawls, site, rules=rules)
    run = crawls.run()
    assert (run.outcome, run.suspect, run.error) == ("succeeded", False, said)
