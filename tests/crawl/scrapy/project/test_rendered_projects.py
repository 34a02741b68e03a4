"""Pages of a project's spider in a browser, with the project's own middlewares.

Rendered by `render` in settings.toml or in the meta of a request.
"""

from __future__ import annotations

import pytest

from tests.crawl.scrapy.project.conftest import Project
from tests.servers.pages import Answer

SETTINGS = """
    DOWNLOADER_MIDDLEWARES = {"shop.middlewares.Recording": 620, "shop.middlewares.Outer": 10}
    ITEM_PIPELINES = {"shop.middlewares.Upper": 1}
    DEFAULT_REQUEST_HEADERS = {"Accept-Language": "de", "X-Shop": "all"}
"""
MIDDLEWARES = """
    from urllib.parse import urlsplit

    class Recording:
        def process_request(self, request):
            request.headers["X-Middleware"] = "yes"
        def process_response(self, request, response):
            if not hasattr(response, "css") or "json" in response.url:
                return response
            seen = request.meta.setdefault("seen", [])
            seen.append(f"{response.status} {response.css('h1::text').get()}")
            return response

    class Outer:
        def process_response(self, request, response):
            if "/again" in response.url and response.css("title::text").get() == "again" and not request.meta.get("again"):
                return request.replace(dont_filter=True, meta={**request.meta, "again": True})
            if "changed" in response.url:
                return response.replace(body=response.body.replace(b"Changed", b"By the middleware"))
            return response

    class Upper:
        def process_item(self, item):
            return {**item, "name": (item["name"] or "").upper()}
"""
SPIDER = """
    import scrapy

    class Products(scrapy.Spider):
        name = "products"
        start_urls = ["SITE/"]

        def parse(self, response):
            yield self.item(response)
            yield from response.follow_all(css="li a", callback=self.product)
            yield response.follow("/changed", self.product)
            yield response.follow("/again", self.product)
            yield response.follow("/moved", self.product)
            yield response.follow("/data.json", self.product, cb_kwargs={"json": True})
            yield response.follow("/plain", self.product, meta={"render": False})
            yield response.follow("/wrong", self.product, meta={"render": {"wait": 1}}, errback=self.failed)
            yield scrapy.FormRequest("SITE/form", self.product, formdata={"q": "tea"}, headers={"X-Own": "1"})

        def item(self, response, name=None):
            return {"url": response.request.meta.get("redirect_urls", [response.url])[0], "name": name or response.css("h1::text").get(),
                    "seen": response.meta.get("seen"), "kind": type(response).__name__, "flags": response.flags}

        def product(self, response, json=False):
            yield self.item(response, response.json()[0] if json else None)

        def failed(self, failure):
            yield {"url": failure.request.url, "name": type(failure.value).__name__}
"""


def written(name: str) -> str:
    """A page whose heading exists only after JavaScript."""
    return f"<title>{name}</title><p>Loading</p><script>document.body.innerHTML = '<h1>{name}</h1><li><a href=/red>red</a>'</script>"


@pytest.mark.needs("chromium")
def test_pages_of_a_project_are_rendered_and_pass_its_middlewares(project: Project) -> None:
    site = project.site
    site.pages = {
        "/": written("start"), "/red": written("red"), "/changed": written("Changed"), "/again": written("again"), "/plain": written("plain"),
        "/moved": Answer("", 301, {"Location": "/moved-to"}), "/moved-to": written("arrived"), "/form": written("form"),
        "/data.json": Answer('["from json"]', headers={"Content-Type": "application/json"})}
    project.settings(SETTINGS)
    project.write("shop/middlewares.py", MIDDLEWARES)
    project.write("shop/spiders/products.py", SPIDER)
    project.toml('render = "browser"\n')
    line = project.run()
    assert f"1 of 9 pages failed; the first: {site.url}/wrong: meta.render.wait: Extra inputs are not permitted" in line, line
    unsent = "DEFAULT_REQUEST_HEADERS has no effect on rendered pages (Accept-Language, X-Shop): the browser has its own"
    assert line.count(unsent) == 1
    assert unsent in project.program.run("check").stderr
    rendered = {"kind": "HtmlResponse", "flags": ["rendered"]}
    assert {str(item.pop("url")).removeprefix(site.url): item for item in project.items()} == {
        "/": {"name": "START", "seen": ["200 start"], **rendered},
        "/red": {"name": "RED", "seen": ["200 red"], **rendered},
        "/changed": {"name": "BY THE MIDDLEWARE", "seen": ["200 Changed"], **rendered},
        "/again": {"name": "AGAIN", "seen": ["200 again", "200 again"], **rendered},
        "/moved": {"name": "ARRIVED", "seen": ["301 None", "200 arrived"], **rendered},
        "/form": {"name": "FORM", "seen": ["200 form"], **rendered},
        "/plain": {"name": "", "seen": ["200 None"], "kind": "HtmlResponse", "flags": []},
        "/data.json": {"name": "FROM JSON", "seen": None, "kind": "JsonResponse", "flags": []},
        "/wrong": {"name": "IGNOREREQUEST"}}
    assert {asked.headers.get("X-Middleware") for asked in site.asked} == {"yes"}, "what a middleware adds to a request is sent by the browser"
    form = next(asked for asked in site.asked if asked.path == "/form")
    assert (form.method, form.body, form.headers["X-Own"]) == ("POST", b"q=tea", "1")
