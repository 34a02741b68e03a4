"""Tests of the commands with which a spider is written.

Suggest, new spider --from, try with expressions, shell.
"""

from __future__ import annotations

import json
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.cells import cell_len

from pipeline.cli.main import main
from pipeline.sample_rows import row_lines
from pipeline.settings import load
from pipeline.workers.pages import shell
from pipeline.workers.plain_session import name_for
from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.program import Program

PRODUCTS = "".join(f"<article class=product><h3><a href=/p/{number}>Lamp {number}</a></h3><p class=price>£{number}.50</p></article>"
                   for number in range(10, 22))
SHOP = f"<title>Shop</title><nav><a href=/>home</a><a href=/about>about</a></nav><main>{PRODUCTS}</main>"
ONLY_FORM = "<h1>Welcome</h1><form><input name=user><input type=password name=password><button>in</button></form>"
PLAIN = "<p>" + "One single article with one long text and no list at all. " * 40

NAVIGATION = "<nav><ul>" + "".join(f"<li><a href=/{name}>All about {name}</a>" for name in ("news", "sport", "travel", "science")) + "</ul></nav>"
FOOTER = "<div class=site-footer>" + "".join(f"<p><a href=/f{number}>Imprint {number}</a></p>" for number in range(6)) + "</div>"

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in tmp_path, in this process."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(main, [str(each) for each in arguments])


def spider(site: PageSite, more: str = "") -> str:
    return f'[spiders.shop]\nstart = "{site.url}/"\n{more}'


@pytest.mark.needs("chromium")
def test_suggest_with_render_reads_the_page_that_scripts_have_built(run: Run, site: PageSite) -> None:
    site.pages = {"/list": f"<div id=root></div><script>setTimeout(() => {{ root.innerHTML = `{SHOP}` }}, 50)</script>"}
    assert "add `--render`" in " ".join(run("suggest", f"{site.url}/list").output.split())
    done = run("suggest", "--render", f"{site.url}/list")
    assert done.exit_code == 0, done.output
    table = tomllib.loads(done.output.partition("writes and tries it")[2])["spiders"]["site"]
    assert table["items"]["each"] == "article.product"
    assert table["render"] == {"wait_for": "article.product"}


def test_suggest_needs_no_settings_and_writes_nothing(run: Run, site: PageSite, tmp_path: Path) -> None:
    site.pages = {"/list": SHOP}
    done = run("suggest", f"{site.url}/list")
    assert done.exit_code == 0, done.output
    assert '12 items in "article.product" (very likely' in done.output
    assert "Lamp 10  " in done.output
    assert "£10.50" in done.output
    table = tomllib.loads(done.output.partition("writes and tries it")[2])["spiders"]["site"]
    assert table["items"]["each"] == "article.product"
    assert list(tmp_path.iterdir()) == []
    assert run("suggest", f"{site.url}/list", "--proposal", 3).exit_code == 2
    secret = run("suggest", f"{site.url.replace('//', '//me:s3cret@')}/list").output
    assert "the user name and the password of the URL are left out" in " ".join(secret.split())
    assert "s3cret" not in secret


@pytest.mark.parametrize(("page", "said"), [
    (Answer("<script src=/app.js></script><div id=root></div>"), "builds its content with JavaScript, which needs a browser; add `--render`"),
    (Answer("<p>Loading</p><script src=/a.js></script><noscript>Please enable JavaScript</noscript>"), "builds its content with JavaScript"),
    (Answer(f"{NAVIGATION}<div id=root></div><script src=/app.js></script>{FOOTER}"), "builds its content with JavaScript"),
    (Answer(ONLY_FORM), "the page asks for a password"),
    (Answer(NAVIGATION + ONLY_FORM + FOOTER), "the page asks for a password"),
    (Answer(f"{NAVIGATION}<h1>Search</h1><p>Nothing found</p>{FOOTER}"), "it may be an empty list"),
    (Answer("<h1>Offers</h1><ul></ul>"), "it may be an empty list"),
    (Answer("[]", headers={"Content-Type": "application/json"}), "it may be an empty list"),
    (Answer('{"user": {"name": "Ada"}}', headers={"Content-Type": "application/json"}), "the JSON of the page has no list of records"),
    (Answer("<?xml version='1.0'?><a><b>1</b></a>", headers={"Content-Type": "text/xml"}), "is neither a feed nor a sitemap"),
    (Answer(""), "the page is empty"),
    (Answer("\0PNG\0", headers={"Content-Type": "image/png"}), "the page is not HTML, XML or JSON (Content-Type: image/png)"),
    (Answer(PLAIN), "it may be a single article"),
    (Answer("<p>Are you human?</p><div class=g-recaptcha></div>"), "the page asks for a captcha")])
def test_suggest_says_what_a_page_without_a_list_is(run: Run, site: PageSite, page: Answer, said: str) -> None:
    site.pages = {"/": page}
    done = run("suggest", f"{site.url}/")
    assert done.exit_code == 1, done.output
    assert said in done.output
    assert "no list was found" in done.output


def test_suggest_reports_an_error_of_the_site_or_of_the_url(run: Run, site: PageSite) -> None:
    site.pages = {"/private": Answer(ONLY_FORM, status=403), "/busy": Answer("wait", status=503)}
    for path, said in (("/gone", "status 404; check the URL"), ("/busy", "status 503; try again later"),
                       ("/private", "status 403: the page asks for a password")):
        done = run("suggest", f"{site.url}{path}")
        assert (done.exit_code, said in done.output) == (5, True), done.output
    for url in ("books.example/list", "file:///etc/passwd", "http://", "http://[::1"):
        done = run("suggest", url)
        assert (done.exit_code, "Traceback" in done.output) == (2, False), url
    assert "such as https://books.example/list" in run("suggest", "books.example/list").output


def test_suggest_says_what_a_run_would_not_fetch_and_that_broken_settings_are_not_used(run: Run, site: PageSite, tmp_path: Path) -> None:
    site.pages = {"/list": SHOP, "/robots.txt": Answer("User-agent: *\nDisallow: /list", headers={"Content-Type": "text/plain"})}
    (tmp_path / "settings.toml").write_text("[spiders")
    done = run("suggest", f"{site.url.replace('http://', 'http://me:s3cret@')}/list#top")
    assert done.exit_code == 0, done.output
    assert f"note: a run does not fetch {site.url}/list: robots.txt forbids this URL; set robots = false" in done.output
    assert "settings.toml: 1 problem, so the file is not used" in done.output
    assert f'start = ["{site.url}/list"]' in done.output
    assert "s3cret" not in done.output


def test_the_entries_of_a_linked_feed_are_shown_and_a_broken_feed_is_not_proposed(run: Run, site: PageSite) -> None:
    link = "<link rel=alternate type=application/rss+xml href=/feed.xml>"
    rss = "<rss version='2.0'><channel>" + "".join(f"<item><title>News {number}</title><guid>{number}</guid></item>" for number in range(8))
    site.pages = {"/": f"{link}{PLAIN}", "/feed.xml": Answer(f"{rss}</channel></rss>", headers={"Content-Type": "application/rss+xml"})}
    done = run("suggest", f"{site.url}/")
    assert done.exit_code == 0, done.output
    assert f"the feed {site.url}/feed.xml, 8 entries" in done.output
    assert "News 0" in done.output
    for broken in (Answer("gone", status=404), "<p>no feed"):
        site.pages["/feed.xml"] = broken
        done = run("suggest", f"{site.url}/")
        assert done.exit_code == 1, done.output
        assert f"{site.url}/feed.xml, which the page links, cannot be used: " in done.output


def test_the_session_of_a_spider_sees_what_a_plain_session_does_not(run: Run, site: PageSite, tmp_path: Path) -> None:
    def page(asked: Asked) -> Answer:
        return Answer(SHOP if asked.headers.get("X-Key") == "open" else ONLY_FORM)

    site.pages = {"/": page}
    (tmp_path / "settings.toml").write_text(spider(site, 'headers = { X-Key = "open" }\n'))
    assert "asks for a password" in run("suggest", f"{site.url}/").output
    done = run("suggest", f"{site.url}/", "--spider", "shop", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["proposals"][0]["count"] == 12
    assert "0 matches" in run("try", "--url", f"{site.url}/", "--css", "article").output
    assert "12 matches" in run("try", "--url", f"{site.url}/", "--spider", "shop", "--css", "article").output
    assert "12 matches" in run("try", "shop", f"{site.url}/", "--css", "article").output


def test_try_without_a_url_fetches_the_first_page_of_the_spider(run: Run, site: PageSite, tmp_path: Path) -> None:
    site.pages = {"/": SHOP}
    (tmp_path / "settings.toml").write_text(spider(site))
    assert "12 matches" in run("try", "shop", "--css", "article").output
    (tmp_path / "settings.toml").write_text('[spiders.mine]\nspider = "spiders.mine:Mine"\n')
    done = run("try", "mine")
    assert (done.exit_code, "`pipeline try mine URL`" in done.output) == (2, True), done.output


def test_text_of_a_site_cannot_control_the_terminal(run: Run, site: PageSite) -> None:
    site.pages = {"/": SHOP.replace("Lamp", "\x1b]0;owned\x07\x1b[31mLa\u202emp\x9b1m").replace("class=product", 'class="product \x1b[2J"')}
    for arguments in (("suggest", f"{site.url}/"), ("try", "--url", f"{site.url}/", "--css", "h3 a"), ("suggest", f"{site.url}/", "--json")):
        shown = run(*arguments).output
        assert "12" in shown
        assert not set(shown) & set("\x1b\x07\x9b\u202e"), repr(shown)


def test_a_new_spider_is_written_tried_and_ready_to_run(program: Program, run: Run, site: PageSite) -> None:
    site.pages = {"/list": SHOP}
    program.write("")
    (program.folder / "settings.toml").chmod(0o640)
    done = run("new", "spider", "lamps", "--from", f"{site.url}/list")
    assert done.exit_code == 0, done.output
    assert f"12 items on {site.url}/list:" in done.output
    assert "next: pipeline run lamps" in done.output
    path = program.folder / "settings.d" / "lamps.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert load(program.folder / "settings.toml").spiders["lamps"].schedule
    (program.folder / "settings.d" / "digest.toml").write_text(done.output.partition("settings.toml:\n")[2])
    assert load(program.folder / "settings.toml").digests["lamps"].spiders == ("lamps",)
    ended = run("run", "lamps")
    assert "12 items, 12 new" in ended.output, ended.output
    again = run("new", "spider", "lamps", "--from", f"{site.url}/list")
    assert (again.exit_code, "there is already a spider named 'lamps'" in again.output) == (2, True)


def test_a_new_spider_gets_the_session_of_another_one(run: Run, site: PageSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def page(asked: Asked) -> Answer:
        return Answer(SHOP + "<a href=/logout>out</a>" if "sid=in" in asked.headers.get("Cookie", "") else ONLY_FORM)

    def login(asked: Asked) -> Answer:
        return Answer(status=302, headers={"Location": "/", "Set-Cookie": "sid=in"}) if asked.method == "POST" else Answer(
            ONLY_FORM.replace("<form>", "<form method=post>"))

    site.pages = {"/": page, "/login": login}
    (tmp_path / "settings.toml").write_text(spider(site, f"""user_agent = 'with "quotes" and \\ backslashes'
        [spiders.shop.login]
        url = "{site.url}/login"
        check = "a[href='/logout']"
        fields = {{ user = "me", password = {{ file = "password" }} }}
        """))
    (tmp_path / "password").write_text("0pens-the-shop")
    assert run("new", "spider", "orders", "--from", f"{site.url}/").exit_code == 1
    done = run("new", "spider", "orders", "--from", f"{site.url}/", "--spider", "shop")
    assert done.exit_code == 0, done.output
    assert f"12 items on {site.url}/" in done.output
    shop, orders = (load(tmp_path / "settings.toml").spiders[name] for name in ("shop", "orders"))
    assert (orders.login, orders.user_agent) == (shop.login, shop.user_agent)
    assert "0pens" not in (tmp_path / "settings.d" / "orders.toml").read_text()
    ended = run("run", "orders")
    assert "12 items, 12 new" in ended.output, ended.output
    assert run("new", "spider", "more", "--spider", "shop").exit_code == 2


def test_a_new_spider_is_not_written_if_anything_is_wrong(run: Run, site: PageSite, tmp_path: Path) -> None:
    site.pages = {"/list": SHOP, "/form": ONLY_FORM}
    assert run("new", "spider", "lamps", "--from", f"{site.url}/list").exit_code == 2  # no settings.toml
    (tmp_path / "settings.toml").write_text(spider(site))
    for name, page, code in (("../lamps", "/list", 2), ("a b", "/list", 2), ("shop", "/list", 2), ("lamps", "/form", 1), ("lamps", "/gone", 5)):
        assert run("new", "spider", name, "--from", f"{site.url}{page}").exit_code == code, name
    assert not (tmp_path / "settings.d").exists()
    (tmp_path / "settings.toml").write_text(spider(site, "proxy = 'no'\n"))
    assert run("new", "spider", "lamps", "--from", f"{site.url}/list").exit_code == 2
    assert not (tmp_path / "settings.d").exists()


def test_expressions_show_what_they_find_without_a_spider(run: Run, site: PageSite) -> None:
    data = '<script type="application/ld+json">{"@type": "Product", "name": "Lamp"}</script><script id=s>{"a": [1, 2]}</script>'
    site.pages = {"/": SHOP + data, "/api": Answer('{"rows": [{"id": 7}]}', headers={"Content-Type": "application/json"})}
    done = run("try", "--url", f"{site.url}/", "--css", "h3 a::attr(href)", "--xpath", "//title/text()", "--css", "h7", "--json")
    assert {next(iter(each["selector"].values())): (each["count"], each["values"][:1]) for each in json.loads(done.output)["selectors"]} == {
        "h3 a::attr(href)": (12, [f"{site.url}/p/10"]), "//title/text()": (1, ["Shop"]), "h7": (0, [])}
    for url, expression, shown in (("/api", ["rows[].id"], "\n    7"), ("/", ["a", "--script", "#s"], "2 matches\n    1\n    2"), ("/", ["[].name", "--data", "json-ld"], "Lamp")):
        found = run("try", "--url", f"{site.url}{url}", "--jmes", *expression)
        assert shown in found.output, found.output


@pytest.mark.parametrize("arguments", [
    ["--css", "h3 ["], ["--css", "p:fist-child"], ["--xpath", "//a["], ["--jmes", "a["], ["--script", "#s"], [], ["--css", "a", "--data", "csv"]])
def test_a_wrong_expression_is_reported_before_anything_is_fetched(run: Run, site: PageSite, arguments: list[str]) -> None:
    done = run("try", "--url", f"{site.url}/", *arguments)
    assert (done.exit_code, site.asked) == (2, []), done.output
    assert "Traceback" not in done.output


def test_the_shell_has_the_page_and_the_session_of_the_spider(program: Program, site: PageSite) -> None:
    site.pages = {"/": SHOP, "/more": "<b>more</b>"}
    program.write(spider(site, 'headers = { X-Key = "open" }\nitems = { each = "article", fields = { name = "h3" } }\n'))
    commands = ['response.css("h3 a::text").get()', 'rule(css=".price", type="number")[0]', "len(items())", 'rule("[")',
                'fetch("more")', "response.css('b').get()", f'fetch("{site.url}0/")', "document.status"]
    done = program.run("shell", "shop", f"{site.url}/", stdin="\n".join(commands) + "\n")
    assert done.returncode == 0, done.stderr
    for shown in ("'Lamp 10'", "10.5", "12", "'[' is not a CSS selector", "<b>more</b>", "200"):
        assert shown in done.stdout
    assert {asked.headers.get("X-Key") for asked in site.asked} == {"open"}
    assert shell.main(str(program.folder / "settings.toml"), "shop", "http://127.0.0.1:1/") == 5


@pytest.mark.parametrize(("url", "name"), [
    ("https://www.books.example/list", "books"), ("https://news.ycombinator.example", "ycombinator"), ("http://127.0.0.1:8000/", "site"),
    ("http://[::1]/", "site"), ("http://[", "site"), ("http://localhost/", "site"), ("https://bücher.example/", "bcher"), ("https://intranet/x", "intranet")])
def test_a_proposed_spider_has_the_name_of_its_host(url: str, name: str) -> None:
    assert name_for(url) == name


def test_rows_fit_into_the_terminal() -> None:
    rows = [{"title": "很长的标题" * 20, "price": {"amount": 3.0, "currency": "EUR", "text": "3 €"}, "tags": ["a", "b"], "more": "x" * 50, "last": None}]
    for width, columns in ((20, 1), (40, 3), (60, 5), (100, 5)):
        heading, row, *rest = row_lines(rows, width=width)
        assert heading.split() == list(rows[0])[:columns]
        assert rest == ([f"more fields: {', '.join(list(rows[0])[columns:])}"] if columns < 5 else [])
        assert cell_len(row) <= width
        assert "很长的" in row
        assert "…" in row
        assert columns < 3 or ("3 €" in row and "a, b" in row)
    assert list(row_lines([])) == []
