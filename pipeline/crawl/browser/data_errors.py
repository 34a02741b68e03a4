"""The data requests of a rendered page that the site answered with an error."""

from __future__ import annotations

from pipeline.session.browser.pages.isolated_world import IsolatedWorld

_FUNCTION = """least => {
    const last = {};  // by URL: a request that a script has repeated with success is no failure
    for (const each of performance.getEntriesByType('resource'))
        if (['fetch', 'xmlhttprequest', 'script'].includes(each.initiatorType)) last[each.name] = each.responseStatus;
    return Object.entries(last).filter(([, status]) => status === 429 || status >= least).slice(0, 100);
}"""


async def data_errors(world: IsolatedWorld, *, least: int = 500) -> list[tuple[str, int]]:
    """Return the URL and the status (429, or `least` and above) of scripts and data that a page has requested without success.

    Statuses below 500 can be right answers: many sites answer 401 or 404 for what a visitor does not have. The browser records 250 requests
    (W3C Resource Timing, section 4.3), and no status of an origin that does not allow the page to read its answer.
    """
    return [(str(url), int(status)) for url, status in await world.call(_FUNCTION, least)]
