"""What becomes of a page in a browser: one crawl with one browser, and a test for each page."""

from __future__ import annotations

from typing import Any

import pytest

from tests.crawl.browser.conftest import RenderedPages, crawl_pages
from tests.servers.pages import Answer, Asked, PageSite

pytestmark = pytest.mark.needs("chromium")


def echo(asked: Asked) -> Answer:
    return Answer("<script>document.write('<i id=js>js</i>')</script>" + "".join(
        f"<p id={name}>{value}</p>" for name, value in {
            "method": asked.method, "body": asked.body.decode(), "own": asked.headers.get("X-Own"), "cookie": asked.headers.get("Cookie"),
            "kind": asked.headers.get("Content-Type"), "agent": asked.headers.get("User-Agent")}.items()))


STEPS = """<button id=hidden style="display:none">no</button><button id=more onclick="more()">more</button><input id=name><select id=size>
<option value=s>Small<option value=l>Large</select><output id=out></output><ul></ul><div id=end></div>
<script>
let count = 0;
function more() { count++; document.querySelector('ul').innerHTML += `<li>entry ${count}</li>`; if (count == 3) document.getElementById('more').remove(); }
for (const id of ['name', 'size']) document.getElementById(id).oninput = event =>
  document.getElementById('out').innerHTML += `<b class=${id}>${event.target.value.length}:${id == 'size' ? event.target.value : ''}</b>`;
document.onkeydown = event => { if (event.key == 'Enter') document.body.insertAdjacentHTML('beforeend', '<u>entered</u>') };
let grown = 0;
onscroll = () => { if (grown < 3) { grown++; setTimeout(() => end.innerHTML += `<p style="height:3000px">grown ${grown}</p>`, 20) } };
</script><p style="height:2000px">tall</p>"""

PAGES: dict[str, Any] = {
    "/late": "<p id=a>-</p><script>setTimeout(() => { a.textContent = 'shown late'; a.className = 'ready' }, 150)</script>",
    "/late-shadow": "<my-box>-</my-box><script>setTimeout(() => document.querySelector('my-box').attachShadow({mode: 'open'}).innerHTML = "
                    "'<b class=ready>in the shadow</b>', 150)</script>",
    "/redirect": Answer("", 302, {"Location": "/target", "Set-Cookie": "redirected=1; Path=/"}),
    "/target": "<script>document.write('<h1>target</h1>')</script>",
    "/script-redirect": "<script>location.href = '/target2'</script>",
    "/target2": "<script>document.write('<h1>target 2</h1>')</script>",
    "/reload": "<script>if (!document.cookie.includes('seen')) { document.cookie = 'seen=1'; location.reload() } else document.write('<h1>again</h1>')</script>",
    "/csv": Answer("a,b\n1,<2>\n", headers={"Content-Type": "text/csv"}),
    "/file": Answer(b"x" * 50, headers={"Content-Type": "application/octet-stream", "Content-Disposition": "attachment; filename=report.bin"}),
    "/starts-download": "<a id=a href=/file>report</a><script>setTimeout(() => a.click(), 10)</script>",
    "/missing": Answer("<script>document.write('rendered')</script>not here", 404),
    "/echo": echo,
    "/shadow": "<my-card><template shadowrootmode=open><b class=price>5</b></template><i>light</i></my-card><noscript><p>no scripts</p></noscript>",
    "/push": "<a href=next>next</a><script>history.pushState({}, '', '/deep/page')</script>",
    "/dialogs": "<script>alert(1); if (!confirm('sure?')) document.write('<h1>dismissed</h1>'); open('/window')</script>",
    "/blocked": "<img src=/picture.png><link rel=stylesheet href=/style.css><script src=/own.js></script><script src=//www.google-analytics.com/a.js></script>",
    "/own.js": Answer("document.write('<h1>own script</h1>')", headers={"Content-Type": "text/javascript"}),
    "/style.css": Answer("h1 { color: red }", headers={"Content-Type": "text/css"}),
    "/steps": STEPS,
    "/frames": "<iframe src=/allowed></iframe><iframe src=/private/frame></iframe>",
    "/allowed": "<p>frame</p>",
    "/private/frame": "<p>secret</p>",
    "/robots.txt": Answer("User-agent: *\nDisallow: /private/\n", headers={"Content-Type": "text/plain"}),
    "/latin": Answer("<meta charset=iso-8859-1><p>caf\xe9".encode("latin-1"), headers={"Content-Type": "text/html"}),
    "/emulation": "<script>document.write(`<h1>${innerWidth} ${navigator.language} ${Intl.DateTimeFormat().resolvedOptions().timeZone}</h1>`)</script>",
    "/plain": "<script>document.write('<h1>scripts ran</h1>')</script>",
}
STARTS: list[dict[str, Any]] = [
    {"url": "/late", "render": {"wait_for": "p.ready"}},
    {"url": "/late-shadow", "render": {"wait_for": "b.ready"}},
    {"url": "/redirect"}, {"url": "/script-redirect"}, {"url": "/reload"}, {"url": "/csv"}, {"url": "/starts-download"}, {"url": "/missing"},
    {"url": "/echo", "form": {"a": "1", "b": "zwei"}, "headers": {"X-Own": "yes"}, "cookies": {"own": "biscuit"}},
    {"url": "/shadow"}, {"url": "/push"}, {"url": "/dialogs"}, {"url": "/blocked"},
    {"url": "/steps", "render": {"steps": [
        {"click": "#never", "optional": True}, {"click": "#more", "times": 9}, {"fill": "#name", "value": {"env": "TEST_STEP_SECRET"}},
        {"select": "#size", "value": "Large"}, {"press": "Enter"}, {"wait": "u"}, {"scroll": "end"}]}},
    {"url": "/frames"}, {"url": "/latin"},
    {"url": "/emulation", "render": {"viewport": "600x400", "locale": "de-DE", "timezone": "Asia/Tokyo"}},
    {"url": "/plain", "render": False},
]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, shared_site: PageSite) -> RenderedPages:
    shared_site.pages |= PAGES
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_STEP_SECRET", "hush-hush")
        return crawl_pages(tmp_path_factory.mktemp("rendered"), shared_site, STARTS, 'render = "browser"\nencoding = "iso-8859-1"\nuser_agent = "me/1"')


def test_a_page_is_taken_when_what_it_waits_for_has_appeared(pages: RenderedPages) -> None:
    assert "shown late" in pages.html("/late")


def test_a_page_can_wait_for_what_is_in_a_shadow_root(pages: RenderedPages) -> None:
    assert "in the shadow" in pages.html("/late-shadow")


def test_a_redirect_is_followed_like_any_redirect_and_its_cookie_is_kept(pages: RenderedPages) -> None:
    assert "<h1>target</h1>" in pages.html("/target")
    assert pages.paths.count("/target") == 1


def test_a_script_that_leads_to_another_page_is_followed_like_a_redirect(pages: RenderedPages) -> None:
    assert "<h1>target 2</h1>" in pages.html("/target2")
    assert pages.site.url + "/script-redirect" not in pages.items


def test_a_page_that_loads_itself_again_after_setting_a_cookie_is_rendered(pages: RenderedPages) -> None:
    assert "<h1>again</h1>" in pages.html("/reload")


def test_an_error_page_has_its_status_and_is_not_rendered(pages: RenderedPages) -> None:
    assert "404" in pages.run.error
    assert pages.site.url + "/missing" not in pages.items


def test_the_first_request_has_the_method_body_headers_and_cookies_of_the_settings(pages: RenderedPages) -> None:
    html = pages.html("/echo")
    assert ">POST<" in html
    assert "a=1&amp;b=zwei" in html
    assert ">yes<" in html
    assert "own=biscuit" in html
    assert "application/x-www-form-urlencoded" in html
    assert ">me/1<" in html
    assert ">js<" in html


def test_open_shadow_roots_are_part_of_the_content_and_noscript_is_not(pages: RenderedPages) -> None:
    html = pages.html("/shadow")
    assert '<my-card><shadow-root><b class="price">5</b></shadow-root><i>light</i></my-card>' in html
    assert "no scripts" not in html


def test_links_resolve_against_the_url_that_a_script_has_set(pages: RenderedPages) -> None:
    assert f'<base href="{pages.site.url}/deep/page">' in pages.html("/push")


def test_dialogs_are_dismissed_and_windows_closed(pages: RenderedPages) -> None:
    assert "<h1>dismissed</h1>" in pages.html("/dialogs")


def test_images_and_trackers_are_not_loaded_but_styles_and_scripts_are(pages: RenderedPages) -> None:
    assert "own script" in pages.html("/blocked")
    assert "/picture.png" not in pages.paths
    assert "/style.css" in pages.paths
    assert "google-analytics" not in pages.run.error


def test_steps_click_fill_select_press_and_scroll(pages: RenderedPages) -> None:
    html = pages.html("/steps")
    assert [f"<li>entry {number}</li>" in html for number in (1, 2, 3, 4)] == [True, True, True, False]
    assert '<b class="name">9:</b>' in html
    assert '<b class="size">1:l</b>' in html
    assert "<u>entered</u>" in html
    assert "grown 3</p>" in html
    assert "hush-hush" not in html


def test_a_frame_that_robots_txt_forbids_is_left_out_and_said(pages: RenderedPages) -> None:
    assert "/allowed" in pages.paths
    assert "/private/frame" not in pages.paths
    assert "a frame of 127.0.0.1 was left out: robots.txt forbids this URL" in pages.run.error


def test_the_content_is_utf_8_whatever_the_page_and_the_settings_declare(pages: RenderedPages) -> None:
    assert "café" in pages.html("/latin")


def test_viewport_locale_and_time_zone_are_those_of_the_settings(pages: RenderedPages) -> None:
    assert "600 de-DE Asia/Tokyo" in pages.html("/emulation")


def test_a_page_with_render_false_is_fetched_without_a_browser(pages: RenderedPages) -> None:
    assert "<h1>scripts ran</h1>" not in pages.html("/plain").replace("'<h1>scripts ran</h1>'", "")
