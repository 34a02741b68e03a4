"""Recognize a page that builds its content with JavaScript.

Scripts, hardly any text, and an empty root element.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborNode

from pipeline.documents import embedded_data
from pipeline.documents.document import Document
from pipeline.model import Json

BUILDS_WITH_SCRIPTS = "the page builds its content with JavaScript"
_ADVICE = "which needs a browser; set `render`, or look for a feed or a JSON URL that the page loads"
NOT_READY = "the page had no content yet when it was taken from the browser; say with `render.wait_for` what shows that it is complete"

_ROOT_IDS = ("root", "app", "__next", "___gatsby", "__nuxt", "__layout", "svelte", "svelte-app", "react-root", "react-app", "reactroot",
             "app-root", "app-container", "app-mount", "appmount", "application", "ember-app", "ember-bootstrap-body", "q-app", "mount",
             "main-app", "vue-app", "ng-app", "spa", "single-spa-application", "blazor-app", "elm", "elm-app", "preact_root", "redwood-app",
             "remix-root", "docusaurus-root", "umi-root", "ice-container", "webpack-app", "vite-app", "sapper")
_ROOTS = ", ".join([*(f"#{name}" for name in _ROOT_IDS), "app", "app-root", "[ng-app]", "[data-ng-app]", "[v-cloak]", "[ng-cloak]",
                    "flutter-view", "flt-glass-pane"])
"""Elements into which frameworks build the page."""
_FRAMEWORK = re.compile(
    r"flutter(?:_bootstrap)?\.js|main\.dart\.js|_framework/blazor\.|__sveltekit|sveltekit|__NUXT__|__NEXT_DATA__|self\.__next_f|"
    r"/_next/static/|/_nuxt/|webpackJsonp|webpackChunk|x/config/environment|config/environment|emberCliFastBoot|polymer|gwt\.codesvr|\.nocache\.js|"
    r"cra-|/static/js/main\.|/assets/index[-.]\w+\.js|chunk-vendors|runtime[-.]\w+\.js|polyfills[-.]\w+\.js|bundle\.js|app[-.]\w*\.?js",
    re.IGNORECASE)
"""Found in the scripts that a framework or a bundler writes."""
_CHALLENGE = re.compile(r"challenge-platform|_cf_chl|challenges\.cloudflare\.com|cf-browser-verification|captcha-delivery\.com|_Incapsula_|px-captcha|"
                        r"awsWaf|token\.awswaf\.com|sucuri_cloudproxy|/_sec/", re.IGNORECASE)
"""Found in the pages of bot protections, which have a message of their own."""
_ASKS = re.compile(
    r"java\s?-?script|\bJS\b|जावास्क्रिप्ट|ジャバスクリプト|자바스크립트|جافا\s?سكريبت|джаваскрипт", re.IGNORECASE)
_LOADING = re.compile(
    r"\b(?:loading|please wait|initiali[sz]ing|wird geladen|bitte warten|chargement|veuillez patienter|cargando|por favor,? espere|carregando|"
    r"aguarde|caricamento|attendere|laden|even geduld|wczytywanie|ładowanie|načítání|betöltés|se încarcă|laddar|indlæser|laster|ladataan|"
    r"yükleniyor|загрузка|завантаження|φόρτωση|טוען|جار التحميل|đang tải)\b|加载中|正在加载|載入中|請稍候|读取中|読み込み中|ロード中|로딩|กำลังโหลด",
    re.IGNORECASE)
_LONGEST_LOADING = 80
_REDIRECT = re.compile(r"\blocation(?:\.href)?\s*=[^=]|\blocation\.(?:replace|assign)\(")
_INVISIBLE = frozenset(("script", "style", "template", "noscript", "head", "svg", "link", "meta", "title"))
_FRAME = frozenset(("header", "nav", "footer"))
"""Elements that a server may write around the root element of a framework."""
_LOADS_DATA = re.compile(r"\bfetch\(|\bXMLHttpRequest\b|\$\.(?:ajax|get|getJSON)\(|\baxios\b")
_CONTROLS = frozenset(("select", "textarea", "iframe", "frame", "frameset", "object", "embed", "video", "audio"))
_MOST_IMAGES = 2
_MOST_TEXT = 400
_MOST_ELEMENTS = 400
_LARGEST_STATE = 5_000_000
_SAFE_ID = re.compile(r"[A-Za-z_][\w-]*")
_STATE = re.compile(r"(?:window|self|globalThis)\s*(?:\.\s*|\[\s*[\"'])_*\w*(?:STATE|DATA|PROPS|PRELOAD|APOLLO|STORE)\w*", re.IGNORECASE)


def script_message(document: Document, *, is_rendered: bool = False) -> str:
    """Return why a page has no content for rules, and what to do: it builds its content with JavaScript. Return "" for any other page.

    Such a page has scripts and no text but that of its header and footer. It may have a little text if it has an empty root element of
    a framework, and also a script of a framework or a text that asks for JavaScript. The challenge of a bot protection is not such a
    page, and neither is a page that only redirects. is_rendered: whether the page was rendered in a browser.
    """
    scripts = [script for script in document.lexbor.css("script") if _runs(script)]
    body = document.lexbor.css_first("body")
    if not scripts or body is None or not _builds_content(document, body, scripts):
        return ""
    if is_rendered:
        return NOT_READY
    state = _state(document)
    if not state:
        return f"{BUILDS_WITH_SCRIPTS}, {_ADVICE}"
    return f"{BUILDS_WITH_SCRIPTS}, which needs a browser; but its data is in the page: read it with {state}"


def shows_nothing(document: Document) -> bool:
    """Return whether a browser without scripts shows nothing of a page but a loading message or a logo."""
    body = document.lexbor.css_first("body")
    return body is None or _Visible(body).is_empty


def _runs(script: LexborNode) -> bool:
    """Return whether a script element contains or loads code, not data."""
    kind = (script.attributes.get("type") or "").lower()
    return not kind or kind == "module" or "script" in kind


def _builds_content(document: Document, body: LexborNode, scripts: list[LexborNode]) -> bool:
    page = _Visible(body)
    if len(page.text) > _MOST_TEXT or page.elements > _MOST_ELEMENTS:
        return False
    code = " ".join(f"{script.attributes.get('src') or ''} {(script.text(deep=True) or '')[:2000]}" for script in scripts)
    if _CHALLENGE.search(code) or body.css_first("#challenge-form") is not None:
        return False
    has_root = any(_Visible(root).is_empty for root in body.css(_ROOTS)) and not any(_Visible(node).text for node in body.css("main, article, h2"))
    if has_root and _Visible(body, without=_FRAME).is_empty:
        return True
    is_marked = _FRAMEWORK.search(code + _heads(document)) is not None or any(
        _ASKS.search(node.text(deep=True) or "") for node in document.lexbor.css("noscript"))
    if not page.is_empty:
        return has_root and is_marked
    if _REDIRECT.search(code) and not any(script.attributes.get("src") for script in scripts):
        return False
    return is_marked or page.has_custom or _LOADS_DATA.search(code) is not None


class _Visible:
    """What a browser without scripts shows of an element.

    text: the text, cut shortly above _MOST_TEXT. elements: the number of elements, including the element itself, cut in the same way.
    images: the number of images. has_controls: whether there is a form field, a frame or a media element. has_custom: whether there is
    an element that scripts define, such as <shop-root>.
    without: the tags of elements to leave out.
    """

    def __init__(self, root: LexborNode, *, without: frozenset[str] = frozenset()) -> None:
        words: list[str] = []
        length = self.elements = self.images = 0
        self.has_controls = self.has_custom = False
        waiting = [root]
        while waiting and length <= _MOST_TEXT and self.elements <= _MOST_ELEMENTS:
            node = waiting.pop()
            tag = node.tag or ""
            if tag == "-text":
                word = " ".join((node.text_content or "").split())
                words += [word] if word else []
                length += len(word)
            elif tag not in _INVISIBLE and tag not in without and not tag.startswith("-"):
                self.elements += 1
                self.images += tag == "img"
                self.has_custom |= "-" in tag
                self.has_controls |= _is_control(node, tag)
                waiting += reversed(list(node.iter(include_text=True)))
        self.text = " ".join(words)

    @property
    def is_empty(self) -> bool:
        """Whether the element contains no more than a loading message, a logo and placeholders."""
        is_blank = not self.text.strip(" .…·|") or (len(self.text) <= _LONGEST_LOADING and _LOADING.search(self.text) is not None)
        return is_blank and not self.has_controls and self.images <= _MOST_IMAGES


def _is_control(node: LexborNode, tag: str) -> bool:
    if tag == "input":
        return (node.attributes.get("type") or "").lower() != "hidden"
    if tag == "iframe":
        return not (node.attributes.get("src") or "javascript:").startswith(("javascript:", "about:"))
    return tag in _CONTROLS


def _heads(document: Document) -> str:
    return " ".join([*(node.attributes.get("href") or "" for node in document.lexbor.css("link[rel*=preload i][href], link[as=script][href]")),
                     *(node.attributes.get("name") or "" for node in document.lexbor.css("meta[name]"))])


def _state(document: Document) -> str:
    """Return the setting that reads the data in a script of the page, such as `json = "script#__NEXT_DATA__"`; "" if there is none."""
    for selector, text, kind in _data_scripts(document):
        if len(text) <= _LARGEST_STATE and any(map(_has_records, embedded_data.read_script(text, kind=kind)[0])):
            return "`data = \"json-ld\"` and `jmes`" if "ld+json" in kind else f"`json = \"{selector}\"` and `jmes`"
    return ""


def _data_scripts(document: Document) -> Iterator[tuple[str, str, str]]:
    """Yield the scripts that may hold the data of the page: a selector, the text and the type of each."""
    for script in document.lexbor.css("script:not([src])"):
        kind, name = (script.attributes.get("type") or "").lower(), script.attributes.get("id") or ""
        text = script.text(deep=True) or ""
        own = f"script#{name}" if _SAFE_ID.fullmatch(name) else ""
        if "json" in kind and kind not in ("importmap", "speculationrules") and name != "__NUXT_DATA__":
            yield own or f"script[type='{'application/json' if 'ld+json' not in kind else 'application/ld+json'}']", text, kind
        elif _STATE.search(text[:2000]):
            yield own or "script", text, kind


def _has_records(value: Json) -> bool:
    """Return whether JSON contains a list of objects with at least two members each, which may be the items of the page."""
    waiting: list[Json] = [value]
    for _ in range(20_000):
        if not waiting:
            return False
        here = waiting.pop()
        if isinstance(here, dict):
            waiting += here.values()
        elif isinstance(here, list):
            if here and all(isinstance(each, dict) and len(each) > 1 for each in here):
                return True
            waiting += here
    return False
