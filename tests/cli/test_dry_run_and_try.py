"""Tests of `run --dry-run` and `try`, which change nothing, and of `new spider`."""

from __future__ import annotations

import json

from pipeline.cli.pages.try_page import lines
from tests.servers.pages import PageSite
from tests.servers.program import Program

SHOP = "<div class=p><b>One</b><a href=/1>x</a><a class=f href=/f.pdf>f</a></div><div class=p><b>Two</b></div>"


def settings_for(site: PageSite) -> str:
    return f"""
        [spiders.shop]
        start = "{site.url}/"
        download = ["a.f"]
        [spiders.shop.items]
        each = "div.p"
        key = ["url"]
        [spiders.shop.items.fields]
        name = "b"
        url = {{ css = "a::attr(href)", required = true }}
    """


def test_a_dry_run_shows_the_items_and_changes_nothing(program: Program, site: PageSite) -> None:
    site.pages = {"/": SHOP}
    program.write(settings_for(site))
    done = program.run("run", "shop", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == [{"name": "One", "url": f"{site.url}/1"}]
    assert "item rejected: url: the field is required, but was not found" in done.stderr
    assert f"would download {site.url}/f.pdf" in done.stderr
    assert "/f.pdf" not in site.paths()
    assert not program.data.exists()


def test_what_each_rule_matched_is_shown_by_a_dry_run_and_by_history(program: Program, site: PageSite) -> None:
    site.pages = {"/": "<li>a <b>1</b></li><li>b</li>"}
    program.write(f"""
        [spiders.shop]
        start = "{site.url}/"
        download = ["a"]
        items = {{ each = "li", key = ["name"], fields = {{ name = "::text", price = "b" }} }}
        """)
    done = program.run("run", "shop", "--dry-run")
    for line in ("items.each          matched on 1 of 1 page, 2 matches", "items.fields.price  filled in 1 of 2 items",
                 "download            matched on 0 of 1 page, 0 matches"):
        assert f"shop: {line}\n" in done.stderr
    assert "`download` matched nothing on 1 page" in done.stderr
    program.run("run", "shop")
    program.run("run", "shop")
    assert "    items.fields.price  filled in 1 of 2 items, usually 50%\n" in program.run("history", "shop", "--rules").stdout
    (newest, _) = json.loads(program.run("history", "--json").stdout)
    assert newest["rules"][0] == {"rule": "items.each", "pages": 1, "pages_matched": 1, "matches": 2, "items": 0, "share": 1.0, "usual": 1.0}


def test_try_shows_each_rule_with_what_it_matched(program: Program, site: PageSite) -> None:
    site.pages = {"/": SHOP}
    program.write(settings_for(site))
    done = program.run("try", "shop", f"{site.url}/", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {rule["name"]: (rule["count"], rule["first"]) for rule in found["rules"]} == {
        "download[0]": (1, [repr(f"{site.url}/f.pdf")]), "items.each": (2, []),
        "items.fields.name": (2, ["'One'", "'Two'"]), "items.fields.url": (2, [repr(f"{site.url}/1"), repr(f"{site.url}/f.pdf")])}
    assert found["items"] == [{"name": "One", "url": f"{site.url}/1"}]
    assert found["rejected"][0]["reason"] == "url: the field is required, but was not found"
    assert program.run("history", "--json").stdout.strip() == "[]"
    down = program.run("try", "shop", "http://127.0.0.1:1/")
    assert (down.returncode, len(down.stderr.splitlines())) == (5, 1)


def test_new_spider_writes_a_spider_that_runs(program: Program, site: PageSite) -> None:
    site.pages = {"/": SHOP}
    program.write(settings_for(site))
    made = program.run("new", "spider", "my-shop")
    assert made.returncode == 0, made.stderr
    table = made.stdout.partition("\n\n")[2].replace("https://example.com", site.url)
    with (program.folder / "settings.toml").open("a") as file:
        file.write("\n" + table)
    done = program.run("run", "my-shop", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert sorted(json.loads(line)["url"] for line in done.stdout.splitlines()) == [f"{site.url}/1", f"{site.url}/f.pdf"]
    assert program.run("new", "spider", "my-shop").returncode == 10


def test_try_shows_a_url_without_its_secrets() -> None:
    found = {"url": "https://me:s3cret@site.example/a?token=abc123&q=1", "status": 200, "characters": 5, "selectors": []}
    (line,) = lines(found)
    assert line.startswith("https://site.example/a?token=")
    assert "s3cret" not in line
    assert "abc123" not in line
