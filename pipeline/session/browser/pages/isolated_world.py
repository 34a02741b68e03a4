"""Runs the program's own functions in a page, where the page's scripts cannot change what they find."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.async_api import CDPSession

_NAME = "crawl-to-inbox"


class IsolatedWorld:
    """A JavaScript context of the main frame that shares the DOM with the page, and nothing else (Chrome DevTools Protocol, Page.createIsolatedWorld).

    A page may replace `document.querySelectorAll`, `Array.prototype` or `JSON`, and so break or deceive a script in its own context. One way
    remains here: elements with the names of properties, such as `<img name=doctype>` or `<form><input name=childNodes>`. So functions read the
    properties of documents and forms through the prototypes (see PRELUDE).
    """

    def __init__(self, protocol: CDPSession) -> None:
        self._protocol = protocol
        self._frame = ""

    async def call(self, function: str, argument: Any = None) -> Any:
        """Return the result of a JavaScript function, which must be JSON. A promise is awaited.

        Raises playwright.async_api.Error if the function fails, if another document replaces that of the page, or if the page is gone.
        """
        from playwright.async_api import Error  # noqa: PLC0415  loaded by now, since there is a page
        if not self._frame:
            self._frame = (await self._protocol.send("Page.getFrameTree"))["frameTree"]["frame"]["id"]
        world = await self._protocol.send("Page.createIsolatedWorld", {"frameId": self._frame, "worldName": _NAME})  # the existing one, if there is one
        ended = await self._protocol.send("Runtime.callFunctionOn", {
            "functionDeclaration": function, "executionContextId": world["executionContextId"], "arguments": [{"value": argument}],
            "awaitPromise": True, "returnByValue": True})
        if problem := ended.get("exceptionDetails"):
            raise Error(problem.get("exception", {}).get("description") or problem["text"])
        return ended["result"].get("value")


PRELUDE = """
    const getter = (type, name) => { const get = Object.getOwnPropertyDescriptor(type.prototype, name).get; return node => get.call(node) };
    const all = (selector, root = document) => Array.from(Document.prototype.querySelectorAll.call(root, selector));
    const first = selector => Document.prototype.querySelector.call(document, selector);
    const rootOf = getter(Document, 'documentElement'), shadowOf = getter(Element, 'shadowRoot'), childrenOf = getter(Node, 'childNodes');
"""
"""Functions for scripts in an isolated world that no element with the name of a property replaces."""
