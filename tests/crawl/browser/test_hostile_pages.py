"""Pages that want too much, or that break the scripts of others.

Each of them fails or is cut alone, and the run goes on.
"""

from __future__ import annotations

import pytest
from sqlalchemy import select

from pipeline.store.database.schema import frontier
from tests.crawl.conftest import Crawls
from tests.servers.pages import PageSite

BREAKS = """<body><h1>Broken</h1><my-card></my-card><img name=createElement><img name=querySelectorAll><img name=documentElement><img name=doctype>
<form id=f><input name=shadowRoot><input name=childNodes><input name=appendChild><b>in a form</b></form><noscript>no scripts</noscript>
<select id=size><option value=s>Small<option value=l>Large</select><p id=late></p>
<script>
f.parentNode.querySelector('my-card').attachShadow({mode: 'open'}).innerHTML = '<i>in the shadow</i>';
f.parentNode.querySelector('#size').onchange = event => f.insertAdjacentHTML('afterend', `<u>${event.target.value}</u>`);
const lie = () => { throw new Error('mine') };
setTimeout(() => { late.className = 'ready'; late.attributes }, 300);
onload = () => {
  for (const name of ['querySelectorAll', 'querySelector', 'createElement', 'open', 'close']) Document.prototype[name] = lie;
  for (const [type, name] of [[Element, 'outerHTML'], [Element, 'innerHTML'], [Element, 'shadowRoot'], [Document, 'doctype'], [Document, 'documentElement']])
    Object.defineProperty(type.prototype, name, {get: lie, configurable: true});
  JSON.stringify = JSON.parse = Array.from = window.Promise = window.MutationObserver = lie;
  for (const name of ['some', 'map', 'filter', Symbol.iterator]) Array.prototype[name] = lie;
};
</script>"""
BY_DEFAULT = '"browser"'
GROWS = "<h1>Grows</h1><script>const kept = []; {}</script>"
PAGES = {
    "/objects": GROWS.format("for (;;) kept.push(new Array(1e5).fill({ a: 1 }))"),
    "/buffers": GROWS.format("setInterval(() => kept.push(new Uint8Array(2e7).fill(1)), 20)"),
    "/windows": "<h1>Windows</h1><script>setInterval(() => open('about:blank'), 1)</script>",
    "/requests": "<h1>Requests</h1><script>for (let at = 0; at < 150; at++) fetch(`http://10.0.0.${at}:1000/`, { mode: 'no-cors' }).catch(() => 0); "
                 "setTimeout(() => document.body.className = 'done', 800)</script>",
    "/breaks": BREAKS,
    "/fine": "<h1>Fine</h1>",
}
OWN = {
    "/breaks": '{ wait_for = ".ready", steps = [{ scroll = "end" }, { select = "#size", value = "Large" }, { wait = "u" }] }',
    "/requests": '{ wait_for = ".done" }', "/windows": '{ wait_for = ".never" }', "/buffers": '{ wait_for = ".never" }', "/objects": '{ wait_for = ".never" }'}


@pytest.mark.needs("chromium")
def test_hostile_pages_fail_or_are_cut_alone(crawls: Crawls, site: PageSite, caplog: pytest.LogCaptureFixture,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.crawl.browser.renderer._MOST_WINDOWS", 12)
    site.pages |= PAGES
    starts = ", ".join(f"{{ url = '{site.url}{path}', render = {OWN.get(path, BY_DEFAULT)} }}" for path in PAGES)
    crawls.write(f"[browser]\npage_memory = '150MB'\n[spiders.s]\nstart = [{starts}]\nrender = 'browser'\nretries = 0\nconcurrency = 2\ntimeout = '20s'\n"
                 "items.each = 'html:has(h1)'\nitems.key = ['name']\nitems.fields = { name = 'h1', html = { css = 'body', type = 'html' } }")
    run = crawls.run()
    with crawls.store.read() as connection:
        errors = {"/" + url.split("/", 3)[3]: error for url, error in connection.execute(select(frontier.c.url, frontier.c.error))}
    found = {key: str(item["html"]) for key, item in crawls.items().items()}
    assert sorted(found) == ["Broken", "Fine", "Requests"]
    assert "crashed its process" in errors["/objects"] or "used more than 150.0 MB" in errors["/objects"]  # whichever limit is met first
    assert "[browser] page_memory" in errors["/objects"]
    assert "the page used more than 150.0 MB of memory in the browser" in errors["/buffers"]
    assert "the page has opened 12 windows" in errors["/windows"]
    broken = found["Broken"]
    assert "<my-card><shadow-root><i>in the shadow</i></shadow-root></my-card>" in broken
    assert "<b>in a form</b>" in broken
    assert "<u>l</u>" in broken
    assert "no scripts" not in broken
    assert "further notes about rendered pages are only in the run's log" in run.error
    assert "140 more of such notes about the page were left out" in caplog.text
