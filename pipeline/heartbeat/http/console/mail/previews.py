"""The page that shows the mails of the next digest before they are sent."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from aiohttp import web

from pipeline.errors import PipelineError
from pipeline.heartbeat.http.console.mail.digests import digest_service, known_digest
from pipeline.heartbeat.http.console.mail.messages import mail_frame
from pipeline.heartbeat.http.console.site import Site, or_404
from pipeline.heartbeat.http.operations.service_actions import PreviewedMail

_KEPT, _KEPT_S, _KEPT_BYTES = 8, 600.0, 32 * 2**20


class KeptPreviews:
    """The last previews, whose mails the frames of their pages load: at most a few, and for some minutes. clock: a monotonic clock in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, tuple[str, float, Sequence[PreviewedMail]]] = OrderedDict()

    def add(self, name: str, mails: Sequence[PreviewedMail]) -> str:
        """Keep the mails of a digest; return the key under which they are found."""
        key = secrets.token_urlsafe(16)
        self._kept[key] = name, self._clock() + _KEPT_S, mails
        while len(self._kept) > 1 and (len(self._kept) > _KEPT or self._bytes() > _KEPT_BYTES):
            self._kept.popitem(last=False)
        return key

    def find(self, name: str, key: str, number: int) -> PreviewedMail | None:
        """Return a mail of a preview, counted from 0; None if it is no longer kept."""
        for old in [old for old, (_, ends, _) in self._kept.items() if ends < self._clock()]:
            del self._kept[old]
        own, _, mails = self._kept.get(key, ("", 0.0, ()))
        return mails[number] if own == name and number < len(mails) else None

    def _bytes(self) -> int:
        return sum(len(mail.html) + len(mail.text) for _, _, mails in self._kept.values() for mail in mails)


class PreviewViews:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._kept = KeptPreviews()

    def add_to(self, router: web.UrlDispatcher) -> None:
        self._site.add_pages(router, {"/digests/{name}/preview": self._preview, r"/digests/{name}/preview/{key}/{id:\d{1,4}}": self._mail})

    async def _preview(self, request: web.Request) -> web.Response:
        name = known_digest(self._site, request)
        try:
            mails = await digest_service(self._site).preview_digest(name)
        except PipelineError as error:
            return await self._site.problem(error, path=request.path)
        return await self._site.html("mail/preview.html", name=name, mails=mails, key=self._kept.add(name, mails))

    async def _mail(self, request: web.Request) -> web.Response:
        """Return the HTML of a previewed mail for a frame."""
        mail = or_404(self._kept.find(known_digest(self._site, request), request.match_info["key"], int(request.match_info["id"])))
        return mail_frame(self._site.actions.mask(mail.html), "text/html")
