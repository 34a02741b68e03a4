"""Finds the page to which "Go back" leads: the nearest one above a path that still shows something."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

from pipeline.errors import StoreError
from pipeline.heartbeat.http.operations.context import OperationsContext
from pipeline.heartbeat.http.operations.spiders import is_known
from pipeline.store.console import items
from pipeline.store.mail import outbox
from pipeline.store.runs import runs

_Exists = Callable[[OperationsContext, str, str], bool]
_ABOVE = {"/messages": "/outbox"}
"""The page that lists what is below a path that is no page itself."""


def _always(found: OperationsContext, name: str, number: str) -> bool:
    return True


def _spider(found: OperationsContext, name: str, number: str) -> bool:
    return is_known(found.store, found.settings, name)


_PAGES: tuple[tuple[re.Pattern[str], _Exists], ...] = tuple((re.compile(pattern), exists) for pattern, exists in (
    (r"/(?:digests|outbox|settings|new-spider)()()", _always),
    (r"/spiders/([^/]+)()(?:/items)?", _spider),
    (r"/spiders/([^/]+)/items/(\d{1,18})", lambda found, name, number: items.one(found.store, name, int(number)) is not None),
    (r"/digests/([^/]+)()", lambda found, name, number: name in found.settings.digests),
    (r"/messages()/(\d{1,18})", lambda found, name, number: outbox.get(found.store, int(number)) is not None),
    (r"/runs()/(\d{1,18})", lambda found, name, number: runs.get_run(found.store, int(number)) is not None),
))
"""The pages that have actions or pages below them, and whether what they show still exists. Every other path counts as none."""


def page_above(found: OperationsContext, path: str) -> str:
    """Return the nearest page above a path that is there now; the overview if there is none, or if the database cannot be read.

    What the page shows may be gone: an item was forgotten, [retention] has deleted a message or a run, the settings have a spider no more.
    """
    above = path
    try:
        while above := above.rpartition("/")[0]:
            above = _ABOVE.get(above, above)
            for pattern, exists in _PAGES:
                if (match := pattern.fullmatch(above)) is not None and exists(found, *match.groups()):
                    return quote(above)
    except StoreError:
        pass
    return "/"
