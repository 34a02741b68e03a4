"""Crawls of pages that JavaScript builds.

Links, downloads, failures, notes, and spiders written in Python.
"""

from __future__ import annotations

import json
import textwrap
import threading

import pytest

from pipeline.workers.pages import suggest, try_rules
from tests.crawl.browser.conftest import failed_pages, toml
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.program import Program

APP = """<!doctype html><title>shop</title><div id=app>Loading</div><script>
fetch('/data.json').then(answer => answer.json()).then(found => {
  app.innerHTML = found.map(each => `<li><a href="/item/${each}">${each}</a></li>`).join('');
});
</script>"""
RULES = """
follow = ["li a"]
items.each = "body:has(h1)"
items.key = ["name"]
items.fields = { name = "h1", price = ".price" }
"""


def shop(site: PageSite) -> None:
    site.pages |= {
        "/": APP,
        "/data.json": Answer('["red", "blue"]', headers={"Content-Type": "application/json"}),
        "/item/red": "<script>document.write('<h1>Red</h1><b class=price>10 EUR</b>')</script>",
        "/item/blue": Answer("<script>document.write('<h1>Blue</h1><b class=price>20 EUR</b>')</script>", headers={"ETag": '"1"'}),
    }


@pytest.mark.needs("chromium")
def test_items_and_links_come_from_the_pages_as_scripts_have_built_them_and_with_only_from_those_that_match(quick_crawls: Crawls, site: PageSite) -> None:
    shop(site)
    site.pages["/"] = Answer(APP, headers={"ETag": '"1"'})
    quick_crawls.write(f"[spiders.s]\nstart = '{site.url}/'\nrender = {{ wait_for = 'li, h1' }}\n{RULES}")
    run = quick_crawls.run()
    assert (run.outcome.value, run.complete, run.error) == ("succeeded", True, "")
    assert {name: item["price"] for name, item in quick_crawls.items().items()} == {"Red": "10 EUR", "Blue": "20 EUR"}
    site.asked.clear()
    site.pages["/item/red"] = "<h1>Red</h1><script>document.write('<b class=price>10 EUR</b>')</script>"
    quick_crawls.write(f"[spiders.s]\nstart = '{site.url}/'\nrender = {{ only = ['/$', '/never/'], wait_for = 'li' }}\n{RULES}")
    run = quick_crawls.run()
    rendered = {asked.path for asked in site.asked if "Sec-Fetch-Mode" in asked.headers}
    assert "/" in rendered
    assert rendered <= {"/", "/data.json"}
    assert sorted(asked.path for asked in site.asked if "/item/" in asked.path) == ["/item/blue", "/item/red"]
    assert quick_crawls.items()["Red"].get("price") is None
    assert "`render.only[1]` matched nothing on 3 pages" in run.error
    assert "`render.only[0]`" not in run.error
    assert not [asked for asked in site.asked if "If-None-Match" in asked.headers]  # the DOM may differ although the document is the same


ROUTES = """<title>shop</title><nav><a href="#/">Home</a> <a href="#top">Top</a></nav><main>Loading</main><script>
const main = document.querySelector('main');
const show = () => main.innerHTML = location.hash.startsWith('#/item/') ? `<h1>${location.hash.slice(7)}</h1>` :
  ['red', 'blue'].map(name => `<li><a href="#/item/${name}">${name}</a></li>`).join('');
addEventListener('hashchange', show);
show();
</script>"""


@pytest.mark.needs("chromium")
def test_routes_in_fragments_are_pages_of_their_own_if_they_are_rendered(quick_crawls: Crawls, site: PageSite) -> None:
    site.pages |= {"/app": ROUTES, "/moved": Answer("", 301, {"Location": "/app"})}
    rules = "follow = ['a']\nitems.each = 'h1'\nitems.key = ['url']\nitems.fields = { url = { page = 'url' }, name = 'h1' }"
    quick_crawls.write(f"[spiders.s]\nstart = ['{site.url}/app#/', '{site.url}/moved#/item/green']\nrender = {{ pdf = true }}\n{rules}")
    run = quick_crawls.perform()
    assert run.complete, run.error
    assert {url.removeprefix(site.url): item["name"] for url, item in quick_crawls.items().items()} == {
        f"/app#/item/{name}": name for name in ("red", "blue", "green")}
    assert run.progress.pages == 5  # the two starts, two items, and the page without a route, to which "#top" leads
    assert run.progress.downloads == 5
    quick_crawls.write(f"[spiders.s]\nstart = ['{site.url}/app#/', '{site.url}/app#/item/red']\nallow_empty = true\n{rules}")
    assert quick_crawls.run().progress.pages == 1, "without a browser, it is one page"
    proposed = suggest.perform(quick_crawls.store, quick_crawls.settings, "s", {"url": f"{site.url}/app#/", "as": "new", "keys": {}, "render": True})
    assert f'start = ["{site.url}/app#/"]' in str(proposed)
    assert "steps" not in str(proposed), "the list does not grow"


@pytest.mark.needs("chromium")
def test_suggest_proposes_to_scroll_a_list_that_grows(quick_crawls: Crawls, site: PageSite) -> None:
    site.pages["/"] = """<h1>Things</h1><main></main><script>let count = 0; const more = () => { for (let each = 0; each < 8 && count < 24; each++)
document.querySelector('main').insertAdjacentHTML('beforeend', `<article style="height:300px"><h3><a href=/${++count}>Thing ${count}</a></h3><b>${count}.50 EUR</b></article>`) };
more(); onscroll = () => { if (innerHeight + scrollY > document.body.scrollHeight - 50) more() }</script>"""
    quick_crawls.write(f"[spiders.s]\nstart = '{site.url}/'\nrender = 'browser'\nallow_empty = true")
    proposed = suggest.perform(quick_crawls.store, quick_crawls.settings, "s", {"url": f"{site.url}/", "as": "new", "keys": {}, "render": True})
    assert 'steps = [{ scroll = "end" }]' in str(proposed["proposals"][0]["toml"])  # type: ignore[index,call-overload]
    assert "the list grows from 8 rows to 16 when the page is scrolled" in str(proposed)


def send(url: str) -> str:
    """Return JavaScript that waits for the response to a request, whatever it is."""
    return f"{{ const request = new XMLHttpRequest(); request.open('GET', '{url}', false); try {{ request.send() }} catch {{}} }}"


def waits_for(url: str) -> str:
    """Return a script whose request ends before the page's load event, so that the page is taken afterwards."""
    return f"<script>{send(url)}</script>"


@pytest.mark.needs("chromium")
def test_pages_that_fail_say_why_the_pass_is_not_complete_and_the_next_pages_are_rendered(crawls: Crawls, site: PageSite) -> None:
    over = threading.Event()

    def waiting(asked: Asked) -> Answer:  # a script that never ends would take all of a processor meanwhile
        over.wait(60)
        return Answer("")

    site.pages |= {
        "/waiting": waiting,
        "/": "<h1>Fine</h1>",
        "/waits": "<p>never</p>",
        "/step": "<p>no button</p>",
        "/cut": Answer("<h1>Cut</h1>" + "x" * 5000, cut=200),
        "/large": "<h1>Large</h1><script>document.write('y'.repeat(300000))</script>",
        "/forever": "<script>location.reload()</script>",
        "/endless": f"<h1>Endless</h1><script>onload = () => {{ for (;;) {{ {send('/waiting')} }} }}</script>",
        "/inner": "<h1>Inner</h1>" + waits_for("http://169.254.169.254/latest/") + waits_for("http://169.254.169.254:8080/"),
        "/lacks": f"<h1>Lacks</h1>{waits_for('/broken.json')}",
        "/broken.json": Answer('{"a": 1' * 1000, headers={"Content-Type": "application/json"}, cut=100),
    }
    starts = ", ".join([f"'{site.url}{path}'" for path in site.pages if path not in ("/waits", "/step", "/broken.json", "/waiting")] + [
        f"{{ url = '{site.url}/waits', render = {{ wait_for = '.price' }} }}",
        f"{{ url = '{site.url}/step', render = {{ steps = [{{ fill = '#user', value = {{ env = 'TEST_STEP_SECRET' }} }}] }} }}"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_STEP_SECRET", "hush-hush")
        crawls.write(f"[spiders.s]\nstart = [{starts}]\nrender = 'browser'\nconcurrency = 4\nretries = 0\ntimeout = '4s'\nmax_page_size = '200kB'\n"
                     "items.each = 'body:has(h1)'\nitems.key = ['name']\nitems.fields.name = 'h1'")
        run = crawls.run()
    over.set()
    assert not run.complete
    assert sorted(crawls.items()) == ["Fine", "Inner", "Lacks"]
    errors = dict(failed_pages(crawls))
    assert "the selector '.price' did not appear within 4 s" in errors["/waits"]
    assert "step 1 (fill '#user') failed: the element did not appear within" in errors["/step"]
    assert "hush-hush" not in "".join(errors.values())
    assert "Content-Length" in errors["/cut"] or "cut short: 200 of 5,012 bytes" in errors["/cut"]
    assert "the page is larger than 200.0 kB" in errors["/large"]
    assert "loads itself again and again" in errors["/forever"]
    assert "within 4 s" in errors["/endless"]
    assert run.error.count("169.254.169.254 failed: the host has the private address 169.254.169.254") == 1  # once for all ports
    assert "a request of a page to 127.0.0.1 failed" in run.error
    assert "so the page may lack content" in run.error


WORKER = """
addEventListener('install', event => skipWaiting());
addEventListener('activate', event => event.waitUntil(clients.claim()));
addEventListener('fetch', event => {
  if (event.request.mode == 'navigate') event.respondWith(new Response('<h1>From a cache</h1>', {headers: {'Content-Type': 'text/html'}}));
});"""


@pytest.mark.needs("chromium")
def test_the_site_answers_and_not_a_service_worker_that_one_of_its_pages_has_installed(quick_crawls: Crawls, site: PageSite) -> None:
    site.pages |= {
        "/": "<h1>First</h1><script>navigator.serviceWorker.register('/worker.js');"
             "navigator.serviceWorker.ready.then(() => document.body.className = 'ready')</script>",
        "/worker.js": Answer(WORKER, headers={"Content-Type": "text/javascript"}),
        "/fine": "<body class=ready><h1>Fine</h1>",
        "/down": Answer("<h1>Down</h1>", 503),
    }
    starts = ", ".join(f"'{site.url}{path}'" for path in ("/", "/fine", "/down"))
    quick_crawls.write(f"[spiders.s]\nstart = [{starts}]\nrender = {{ wait_for = '.ready' }}\nconcurrency = 1\nretries = 0\n"
                 "items.each = 'body:has(h1)'\nitems.key = ['name']\nitems.fields.name = 'h1'")
    run = quick_crawls.run()
    assert sorted(quick_crawls.items()) == ["Fine", "First"]
    assert not run.complete
    assert "503" in dict(failed_pages(quick_crawls))["/down"]


@pytest.mark.needs("chromium")
def test_a_spider_in_python_asks_for_rendering_by_meta(quick_crawls: Crawls, site: PageSite) -> None:
    shop(site)
    (quick_crawls.folder / "rendering_spider.py").write_text(textwrap.dedent("""
        import scrapy

        class OwnSpider(scrapy.Spider):
            key = "name"

            def parse(self, response):
                yield {"name": "start", "rendered": bool(response.css("li"))}
                yield response.follow("/?a", self.parse_rendered, meta={"render": {"wait_for": "li"}})
                yield response.follow("/?b", self.parse_broken, meta={"render": {"wait": "li"}})

            def parse_rendered(self, response):
                yield {"name": "asked", "rendered": bool(response.css("li"))}
                yield response.follow("/?c", self.parse_rendered, meta=response.meta)

            def parse_broken(self, response):
                yield {"name": "broken"}
        """))
    quick_crawls.write(f"[spiders.s]\nspider = 'rendering_spider:OwnSpider'\nstart = '{site.url}/'\n")
    run = quick_crawls.run()
    assert {name: item["rendered"] for name, item in quick_crawls.items().items()} == {"start": False, "asked": True}
    assert "meta.render" in run.error


def test_spiders_that_render_nothing_do_not_load_playwright(program: Program, site: PageSite) -> None:
    site.pages["/"] = "<h1>plain</h1>"
    (program.folder / "own.py").write_text(textwrap.dedent("""
        import sys
        import scrapy

        class OwnSpider(scrapy.Spider):
            key = "name"

            def parse(self, response):
                yield {"name": response.css("h1::text").get(), "loaded": sorted(name for name in sys.modules if name.partition(".")[0] in ("playwright", "lxml"))}
        """))
    program.write(f"[spiders.s]\nspider = 'own:OwnSpider'\nstart = '{site.url}/'\n")
    ended = program.run("run", "s")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    item, = map(json.loads, program.run("items", "s").stdout.splitlines())
    assert item["name"] == "plain"
    assert [name for name in item["loaded"] if name.startswith("playwright")] == []
    assert "lxml" in item["loaded"], "the modules of the run's process are listed"


@pytest.mark.needs("chromium")
def test_pictures_pdf_files_and_downloads_that_pages_start_are_stored_like_downloads(crawls: Crawls, site: PageSite) -> None:
    site.pages |= {
        "/": "<script>document.write('<h1>Report</h1><img src=/dot.png>')</script>", "/dot.png": Answer(DOT, headers={"Content-Type": "image/png"}),
        "/starts": "<h1>Starts</h1><a id=a href=/report.bin>get</a><a id=b download=x href='data:text/plain,made'>made</a><script>"
                   "setTimeout(() => { a.click(); b.click() }, 10)</script>",
        "/report.bin": Answer(b"z" * 5000, headers={"Content-Type": "application/octet-stream", "Content-Disposition": "attachment"}),
    }
    starts = [{"url": f"{site.url}/", "render": {"screenshot": "page", "pdf": True}}, {"url": f"{site.url}/starts", "render": {"wait_for": "0.5s"}}]
    crawls.write(f"[spiders.s]\nstart = {toml(starts)}\nitems.each = 'body'\nitems.key = ['name']\nitems.fields.name = 'h1'")
    figures = []
    for _ in range(2):
        run = crawls.perform()
        assert run.complete, run.error
        assert run.error == "a file that scripts made (data:) was left out"
        figures.append((run.progress.downloads, run.progress.downloads_unchanged, run.progress.download_bytes > 5000))
    assert figures == [(3, 0, True), (0, 3, False)]
    assert "/dot.png" in site.paths()  # pictures show images
    files = sorted((file for file in (crawls.folder / "data" / "downloads" / "s").glob("*.*") if file.is_file()), key=lambda file: file.suffix)
    assert [file.suffix for file in files] == [".bin", ".pdf", ".png"]  # the same page is one version
    assert [file.read_bytes()[:4] for file in files] == [b"zzzz", b"%PDF", b"\x89PNG"]
    assert files[0].stat().st_size == 5000


@pytest.mark.needs("chromium")
def test_a_pdf_file_of_a_watched_page_leaves_out_what_the_text_does(quick_crawls: Crawls, site: PageSite) -> None:
    starts = [f"{site.url}/same", f"{site.url}/changes"]
    quick_crawls.write(f"[spiders.s]\nspider = 'watch'\nstart = {toml(starts)}\nrender = {{ pdf = true }}\nwatch.without = ['.ad', '.ad:lexbor-contains(x)']")
    for ad, text, figures in (("one", "Report", (2, 0)), ("another", "News", (1, 1))):
        for path, shown in (("/same", "Report"), ("/changes", text)):
            site.pages[path] = Answer(f"<p class=ad>{ad}</p><h1>{shown}</h1>", headers={"Content-Security-Policy": "default-src 'none'"})
        run = quick_crawls.perform()
        assert run.complete, run.error
        assert (run.progress.downloads, run.progress.downloads_unchanged) == figures


DOT = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082")


@pytest.mark.needs("chromium")
def test_try_shows_what_the_rules_find_on_the_rendered_page(quick_crawls: Crawls, site: PageSite) -> None:
    shop(site)
    site.pages["/old"] = Answer("", 302, {"Location": "/"})
    quick_crawls.write(f"[spiders.s]\nstart = '{site.url}/old'\nrender = {{ wait_for = 'li' }}\nrobots = false\nfollow = ['li a']\nitems.each = 'li'\nitems.key = ['name']\n"
                 "items.fields.name = 'a'")
    found = try_rules.perform(quick_crawls.store, quick_crawls.settings, "s", {"url": f"{site.url}/old"})
    assert found["url"] == f"{site.url}/"
    assert found["rendered"] is True
    assert [item["name"] for item in found["items"]] == ["red", "blue"]  # type: ignore[union-attr,call-overload,index]
    assert found["links"] == [f"{site.url}/item/red", f"{site.url}/item/blue"]


@pytest.mark.needs("chromium")
def test_a_page_that_was_taken_too_early_makes_no_item_gone(quick_crawls: Crawls, site: PageSite) -> None:
    shop(site)
    site.pages["/"] = APP.replace("Loading", "")
    toml = f"[spiders.s]\nstart = '{site.url}/'\nrender = {{{{ wait_for = '{{}}' }}}}\nitems.each = 'li'\nitems.key = ['name']\nitems.fields.name = 'a'\n"
    quick_crawls.write(toml.format("li"))
    assert quick_crawls.run().complete
    site.pages["/data.json"] = Answer("[]", headers={"Content-Type": "application/json"})
    quick_crawls.write(toml.format("div"))
    run = quick_crawls.run()
    assert "say with `render.wait_for` what shows that it is complete" in run.error
    assert sorted(quick_crawls.items()) == ["blue", "red"]
