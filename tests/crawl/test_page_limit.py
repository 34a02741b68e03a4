"""A page that kills its process is skipped and reported, and the rest of the site is crawled."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.program import Program, eventually

SPIDER = """
[spiders.shop]
start = ["{url}/"]
follow = ["a"]
robots = false
page_cpu_limit = "500ms"
{more}
[spiders.shop.items]
each = "p"
key = ["name"]
[spiders.shop.items.fields]
name = "b"
"""
LISTING = "<p><b>Listed</b></p><a href=/1>1</a><a href=/heavy>heavy</a><a href=/2>2</a>"
HEAVY = {
    "tags nested 60,000 deep": lambda: Answer("<div>" * 60_000),
    "one tag with 500,000 attributes": lambda: Answer("<p " + " ".join(f"a{n}=1" for n in range(500_000)) + ">"),
    "formatting that is never closed": lambda: Answer("".join(f"<b id={n}><i><a href=x>" for n in range(20_000)) + "<p>" * 20_000),
}


def site_with(heavy: Answer) -> dict[str, Answer]:
    return {"/": Answer(LISTING), "/1": Answer("<p><b>One</b></p>"), "/2": Answer("<p><b>Two</b></p>"), "/heavy": heavy}


def names(program: Program) -> set[str]:
    return {json.loads(line)["name"] for line in program.run("items", "shop").stdout.splitlines()}


@pytest.fixture(autouse=True)
def _forkserver(program: Program) -> None:
    """The run whose process was killed continues in one that is forked from a forkserver."""
    program.environment["TEST_FORKSERVER"] = "1"


@pytest.mark.parametrize("kind", HEAVY)
def test_a_page_that_takes_too_much_cpu_is_set_aside_and_the_rest_is_crawled(program: Program, kind: str):
    with PageSite(site_with(Answer("<p><b>Heavy</b></p>"))) as site:
        program.write(SPIDER.format(url=site.url, more=""))
        assert program.run("run", "shop").returncode == 0
        assert names(program) == {"Listed", "One", "Two", "Heavy"}
        site.pages = site_with(HEAVY[kind]())
        done = program.run("run", "shop", timeout_s=120)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"1 page skipped; the first: {site.url}/heavy took more than page_cpu_limit = 0.5 s of CPU time" in done.stdout
        assert "gone" not in done.stdout
        assert names(program) == {"Listed", "One", "Two", "Heavy"}
        site.pages = site_with(Answer("<p><b>Heavy</b></p>"))
        assert "aside" not in program.run("run", "shop").stdout
    assert not list((program.data / "logs" / "runs").glob("*.page"))


def test_a_page_that_takes_too_much_cpu_in_one_of_several_processes_is_set_aside(program: Program):
    with PageSite(site_with(Answer("<div>" * 60_000))) as site:
        program.write(SPIDER.format(url=site.url, more="processes = 2"))
        done = program.run("run", "shop", timeout_s=120)
    assert "1 page skipped" in done.stdout
    assert names(program) == {"Listed", "One", "Two"}


def test_a_page_that_is_parsed_at_two_kills_for_memory_is_set_aside(program: Program):
    (program.folder / "eats.py").write_text("""
import scrapy

class Eats(scrapy.Spider):
    key = "name"
    def parse(self, response):
        if response.url.endswith("/heavy"):
            held = [bytearray(10_000_000) for _ in range(200)]
            while held:
                pass
        for name in response.css("b::text").getall():
            yield {"name": name}
        for link in response.css("a::attr(href)").getall():
            yield response.follow(link)
""", "utf-8")
    with PageSite(site_with(Answer("heavy"))) as site:
        program.write(f"""
[spiders.shop]
spider = "eats:Eats"
start = ["{site.url}/"]
robots = false
memory_limit = "500MB"
page_cpu_limit = "10m"
""")
        first = program.run("run", "shop", timeout_s=120)
        assert "memory_limit is 500 MB" in first.stdout + first.stderr
        second = program.run("run", "shop", timeout_s=120)
        assert "memory_limit is 500 MB" in second.stdout + second.stderr
        third = program.run("run", "shop", timeout_s=120)
    assert third.returncode == 0, third.stdout + third.stderr
    assert f"{site.url}/heavy was being processed both times that the process was killed" in third.stdout
    assert names(program) == {"Listed", "One", "Two"}


def test_the_service_continues_the_run_without_the_page(program: Program):
    with PageSite(site_with(Answer("<div>" * 60_000))) as site:
        program.write(SPIDER.format(url=site.url, more='schedule = "every 1h"'))
        program.serve()
        eventually(lambda: [run for run in program.history() if run["outcome"]], within_s=120)
        run, = program.history()
        assert run["outcome"] == "succeeded", run
        assert run["complete"] is False
        assert "1 page skipped" in run["error"]
        assert run["progress"]["pages"] == 3
        assert program.stop() == 0


def test_of_a_page_with_too_many_links_the_first_are_followed_and_the_run_says_so(program: Program):
    links = "".join(f"<a href=/p/{n}>x</a>" for n in range(100_001))
    with PageSite({"/": Answer(LISTING.partition("<a")[0] + links)}) as site:
        program.write(SPIDER.format(url=site.url, more="max_pages = 3").replace("500ms", "1m"))
        done = program.run("run", "shop", timeout_s=120)
    assert f"{site.url}/ has 100,001 links; only the first 100,000 are used" in done.stdout
    assert names(program) == {"Listed"}


def test_a_page_that_takes_too_much_cpu_behind_a_login_is_set_aside(program: Program):
    def post(asked: Asked) -> Answer:
        if asked.method == "POST":
            return Answer("<a href=/logout>out</a>", headers={"Set-Cookie": "in=1; Path=/"})
        return Answer("<form method=post><input name=user><input type=password name=password></form>")

    def member(body: str) -> Callable[[Asked], Answer]:
        return lambda asked: Answer(body + "<i href=/logout>out</i>" if "in=1" in asked.headers.get("Cookie", "") else "<p>Who?</p>")

    pages = {"/login": post, "/": member(LISTING), "/1": member("<p><b>One</b></p>"), "/2": member("<p><b>Two</b></p>"),
             "/heavy": member("<div>" * 60_000)}
    with PageSite(pages) as site:
        login = f"""login = {{ url = "{site.url}/login", fields = {{ user = "me", password = {{ env = "PASSWORD" }} }}, """
        program.environment["PASSWORD"] = "s3cret"
        program.write(SPIDER.format(url=site.url, more=login + f"""check = "[href='/logout']", check_url = "{site.url}/" }}"""))
        done = program.run("run", "shop", timeout_s=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 page skipped" in done.stdout
    assert names(program) == {"Listed", "One", "Two"}
