"""The content of a rendered page as HTML: its DOM, with open shadow roots and without noscript elements."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.async_api import Page

SHADOW_ROOT = "shadow-root"
"""The name of the element in which the snapshot shows the content of an open shadow root, as the first child of its host."""

_SNAPSHOT = """([limit, name, url]) => {
    const root = document.documentElement;
    if (!root) return '';
    for (const each of document.querySelectorAll('noscript')) each.remove();
    const hasShadow = Array.from(document.querySelectorAll('*')).some(each => each.shadowRoot);
    let html = '';
    if (hasShadow) {
        const inert = document.implementation.createHTMLDocument('');
        const copy = node => {
            const made = inert.importNode(node, false);
            if (node.shadowRoot) {
                const box = inert.createElement(name);
                for (const child of node.shadowRoot.childNodes) box.appendChild(copy(child));
                made.appendChild(box);
            }
            if (node instanceof HTMLTemplateElement) made.innerHTML = node.innerHTML;
            for (const child of node.childNodes) made.appendChild(copy(child));
            return made;
        };
        try { html = copy(root).outerHTML; } catch (error) { html = ''; }
    }
    html = html || root.outerHTML;
    if (html.length > limit) return null;
    const here = location.href.split('#')[0];
    if (here !== url && !document.querySelector('base[href]')) {  // history.pushState: links are relative to the new URL
        const base = document.createElement('base');
        base.setAttribute('href', here);
        html = html.replace(/<head(?=[\\s>])[^>]*>/i, head => head + base.outerHTML);
    }
    const kind = document.doctype;
    return (kind ? '<!DOCTYPE ' + kind.name + '>' : '') + html;
}"""


async def snapshot(page: Page, url: str, max_bytes: int) -> bytes | None:
    """Return the DOM of a page as HTML in UTF-8; None if it has more than max_bytes bytes. url: the URL of the document.

    If scripts have changed the URL of the page without loading another document, a base element tells to what links are relative.

    noscript elements are left out, since a browser with scripts shows none of their content. Documents in frames and closed shadow roots are
    not part of it.
    """
    html: str | None = await page.evaluate(_SNAPSHOT, [max_bytes, SHADOW_ROOT, url.partition("#")[0]])
    if html is None:
        return None
    data = html.encode("utf-8", "replace")
    return data if len(data) <= max_bytes else None
