"""A page that builds its content with JavaScript is recognized by what frameworks write.

Other pages with scripts are not.
"""

from __future__ import annotations

import json

import pytest

from pipeline.documents.document import Document
from pipeline.documents.scripted_pages import BUILDS_WITH_SCRIPTS, script_message

ITEMS = [{"name": "A", "price": 1}, {"name": "B", "price": 2}]
SHELLS = {
    "create-react-app": '<html lang="en"><head><title>React App</title><script defer src="/static/js/main.1a2b3c4d.js"></script></head><body>'
                        "<noscript>You need to enable JavaScript to run this app.</noscript><div id=root></div></body></html>",
    "vite": '<html><head><script type="module" crossorigin src="/assets/index-B2x9aQ.js"></script></head><body><div id="app"></div></body></html>',
    "next export": '<html><head><script src="/_next/static/chunks/main-1.js" defer></script></head><body><div id="__next"></div>'
                   '<script id="__NEXT_DATA__" type="application/json">{"props":{"pageProps":{}},"page":"/","query":{}}</script></body></html>',
    "next, app router": "<html><body><template data-dgst=BAILOUT_TO_CLIENT_SIDE_RENDERING></template>"
                        '<script src="/_next/static/chunks/webpack-1.js" async></script><script>self.__next_f.push([0])</script></body></html>',
    "nuxt": '<html><body><div id="__nuxt"></div><div id="teleports"></div><script type="application/json" id="__NUXT_DATA__">'
            '[["Reactive",1],{"data":2},{}]</script><script>window.__NUXT__={}</script><script type=module src="/_nuxt/entry.js"></script>',
    "nuxt 2": '<html><body><div id="__nuxt"><style>#nuxt-loading{}</style><div id="nuxt-loading" aria-live="polite"><div>Loading…</div></div></div>'
              '<script src="/_nuxt/runtime.js"></script></body></html>',
    "angular": '<html><head><base href="/"></head><body><app-root></app-root><script src="runtime.abc.js" type="module"></script>'
               '<script src="polyfills.abc.js" type="module"></script></body></html>',
    "angular, own prefix": '<html><body><shop-root>Loading...</shop-root><script src="main.abc.js" type="module"></script></body></html>',
    "angularjs": '<html><body ng-app="shop"><div ng-view></div><script src="angular.min.js"></script></body></html>',
    "vue-cli": "<html><body><noscript><strong>We're sorry but shop doesn't work properly without JavaScript enabled. Please enable it to continue."
               "</strong></noscript><div id=app></div><script src=/js/chunk-vendors.1.js></script></body></html>",
    "vue with a logo": '<html><body><div id="app"><div class="splash"><img src="/logo.svg"><p>Bitte warten …</p></div></div>'
                       '<script src="/js/app.js"></script></body></html>',
    "sveltekit": '<html><body data-sveltekit-preload-data="hover"><div style="display: contents"><script>{ __sveltekit_1 = { base: "" };'
                 ' import("/_app/immutable/entry/start.js"); }</script></div></body></html>',
    "ember": '<html><head><meta name="shop/config/environment" content="%7B%7D"></head><body><script src="/assets/vendor.js"></script>'
             '<script src="/assets/shop.js"></script></body></html>',
    "gatsby": '<html><body><noscript>This app works best with JavaScript enabled.</noscript><div id="___gatsby"><div style="outline:none"></div></div>'
              '<script src="/webpack-runtime.js" async></script></body></html>',
    "blazor": '<html><body><div id="app"><svg class="loading-progress"></svg><div class="loading-progress-text"></div></div><div id="blazor-error-ui">'
              'An unhandled error has occurred. <a href="" class="reload">Reload</a></div><script src="_framework/blazor.webassembly.js"></script>',
    "blazor, older": "<html><body><app>Loading...</app><script src=_framework/blazor.webassembly.js></script></body></html>",
    "flutter": '<html><body><script src="flutter_bootstrap.js" async></script></body></html>',
    "gwt": '<html><body><iframe src="javascript:\'\'" id="__gwt_historyFrame"></iframe><script src="shop/shop.nocache.js"></script></body></html>',
    "polymer": '<html><body><shop-app></shop-app><script src="src/shop-app.js"></script></body></html>',
    "a root of another name": '<html><body><div id="content"></div><script>fetch("/api/list").then(show)</script></body></html>',
    "skeleton": "<html><body><div id=root><ul class=skeleton><li></li><li></li></ul></div><script src=/bundle.js></script></body></html>",
    "header and footer of the server": "<html><body><header><a href=/>Shop</a></header><div id=app></div><footer>© Shop</footer><script src=/a.js></script>",
    "noscript in German": "<html><body><noscript>Bitte aktivieren Sie JavaScript.</noscript><div id=c></div><script src=x.js></script></body></html>",
    "noscript in Russian": "<html><body><noscript>Включите JavaScript</noscript><script src=x.js></script></body></html>",
    "noscript in Japanese": "<html><body><noscript>JavaScriptを有効にしてください</noscript><script src=x.js></script></body></html>",
    "a counter in noscript": '<html><body><noscript><iframe src="https://www.googletagmanager.com/ns.html"></iframe></noscript><div id=root></div>'
                             "<script src=/main.js></script></body></html>",
}
OTHERS = {
    "a list with scripts": "<html><body><div id=root><ul>" + "".join(f"<li><a href=/{n}>Item {n}</a></li>" for n in range(9))
                           + "</ul></div><script src=/static/js/main.js></script></body></html>",
    "an empty list": "<html><body><div id=__next><header>Shop</header><main>No results</main></div><script src=/_next/static/a.js></script></body></html>",
    "an empty list in few words": "<html><body><h1>Orders</h1><p>None.</p><script src=/a.js></script><noscript>JavaScript, please</noscript></body></html>",
    "an empty element beside the content": "<html><body><main><p>Nothing is on sale today.</p></main><div id=app></div><script src=/cart.js></script>",
    "no positions": "<html><body><header><a href=/>Home</a><a href=/jobs>Jobs</a></header><h1>Jobs</h1><p>No open positions at the moment. Please come"
                    " back later.</p><div id=app></div><script src=/cookie.js></script></body></html>",
    "a status": "<html><body><h1>Status</h1><p>All systems operational</p><p>Version 4.2</p><div id=app></div><script src=/analytics.js></script>",
    "an error": "<html><body><p>Invalid request</p><div id=mount></div><script>ga()</script></body></html>",
    "an empty list without text": "<html><body><div><ul></ul></div><script src=/ga.js></script></body></html>",
    "login": "<html><body><div id=app><form><input name=user><input type=password name=p></form></div><script src=/a.js></script></body></html>",
    "no script": "<html><body><div id=root></div></body></html>",
    "only data": '<html><body><div id=root></div><script type="application/ld+json">{}</script></body></html>',
    "cloudflare": "<html><head><title>Just a moment...</title></head><body><noscript>Enable JavaScript and cookies to continue</noscript>"
                  "<script>window._cf_chl_opt={}</script><script src=/cdn-cgi/challenge-platform/h/b/orchestrate></script></body></html>",
    "datadome": "<html><body><p id=cmsg></p><script>var dd={'host':'geo.captcha-delivery.com'}</script></body></html>",
    "a redirect": "<html><body><script>window.location.href = '/start'</script></body></html>",
    "frames": "<html><frameset cols='20%,*'><frame src=menu.html><frame src=list.html></frameset><script>x()</script></html>",
    "a page in an iframe": "<html><body><iframe src=/list.html></iframe><script src=a.js></script></body></html>",
    "images": "<html><body><div id=app><img src=1.jpg><img src=2.jpg><img src=3.jpg></div><script src=a.js></script></body></html>",
    "an article": f"<html><body><article><h1>News</h1><p>{'Something happened. ' * 40}</p></article><div id=root></div><script src=a.js></script>",
    "plain text": "No results",
    "nothing": "",
    "json": json.dumps(ITEMS),
}


def message(html: str) -> str:
    return script_message(Document(url="https://shop.example/", status=200, text=html, headers=dict))


@pytest.mark.parametrize("html", SHELLS.values(), ids=SHELLS)
def test_a_page_of_a_framework_without_content_is_recognized(html: str) -> None:
    assert message("<!doctype html>" + html) == BUILDS_WITH_SCRIPTS + (
        ", which needs a browser; set `render`, or look for a feed or a JSON URL that the page loads")


@pytest.mark.parametrize("html", OTHERS.values(), ids=OTHERS)
def test_any_other_page_is_not(html: str) -> None:
    assert message(html) == ""


@pytest.mark.parametrize(("script", "read_with"), [
    (f'<script id="__NEXT_DATA__" type="application/json">{json.dumps({"props": {"items": ITEMS}})}</script>', '`json = "script#__NEXT_DATA__"`'),
    (f'<script type="application/json">{json.dumps(ITEMS)}</script>', "`json = \"script[type='application/json']\"`"),
    (f'<script type="application/json" id="a b">{json.dumps(ITEMS)}</script>', "`json = \"script[type='application/json']\"`"),
    (f"<script>window.__INITIAL_STATE__ = {json.dumps({'list': ITEMS})};</script>", '`json = "script"`'),
    (f'<script type="application/ld+json">{json.dumps({"@graph": ITEMS})}</script>', '`data = "json-ld"`'),
])
def test_data_in_the_page_is_named_with_the_rule_that_reads_it(script: str, read_with: str) -> None:
    found = message(f"<html><body><div id=root></div>{script}<script src=/a.js></script></body></html>")
    assert found == f"{BUILDS_WITH_SCRIPTS}, which needs a browser; but its data is in the page: read it with {read_with} and `jmes`"
