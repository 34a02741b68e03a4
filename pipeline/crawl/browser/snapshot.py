"""The content of a rendered page as HTML.

Its DOM, with open shadow roots and without noscript elements.
"""

from __future__ import annotations

from pipeline.session.browser.pages.isolated_world import PRELUDE, IsolatedWorld

SHADOW_ROOT = "shadow-root"
"""The name of the element in which the snapshot shows the content of an open shadow root, as the first child of its host."""

_SNAPSHOT = """([limit, name, url]) => {""" + PRELUDE + """
    const root = rootOf(document);
    if (!root) return '';
    for (const each of all('noscript')) each.remove();
    const inert = getter(Document, 'implementation')(document).createHTMLDocument('');
    let html = '';
    if (all('*').some(each => shadowOf(each))) {
        const add = (parent, child) => Node.prototype.appendChild.call(parent, child);
        const copy = node => {
            const made = inert.importNode(node, false);
            const shadow = node instanceof Element ? shadowOf(node) : null;
            if (shadow) {
                const box = inert.createElement(name);
                for (const child of childrenOf(shadow)) add(box, copy(child));
                add(made, box);
            }
            if (node instanceof HTMLTemplateElement) made.innerHTML = node.innerHTML;
            for (const child of childrenOf(node)) add(made, copy(child));
            return made;
        };
        try { html = copy(root).outerHTML; } catch (error) { html = ''; }
    }
    html = html || root.outerHTML;
    if (html.length > limit) return null;
    const here = location.href.split('#')[0];
    if (here !== url && !first('base[href]')) {  // history.pushState: links are relative to the new URL
        const base = inert.createElement('base');
        base.setAttribute('href', here);
        html = html.replace(/<head(?=[\\s>])[^>]*>/i, head => head + base.outerHTML);
    }
    const kind = getter(Document, 'doctype')(document);
    return (kind ? '<!DOCTYPE ' + kind.name + '>' : '') + html;
}"""


async def snapshot(world: IsolatedWorld, url: str, max_bytes: int) -> bytes | None:
    """Return the DOM of a page as HTML in UTF-8; None if it has more than max_bytes bytes. url: the URL of the document.

    If scripts have changed the URL of the page without loading another document, a base element tells to what links are relative.

    noscript elements are left out, since a browser with scripts shows none of their content. Documents in frames and closed shadow roots are
    not part of it.
    """
    html: str | None = await world.call(_SNAPSHOT, [max_bytes, SHADOW_ROOT, url.partition("#")[0]])
    if html is None:
        return None
    data = html.encode("utf-8", "replace")
    return data if len(data) <= max_bytes else None
