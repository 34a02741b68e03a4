"""Decode pages compressed with gzip, deflate, br or zstd.

Unlike in Scrapy, a truncated stream is an error.
"""

from __future__ import annotations

from typing import Any, Self

from scrapy.crawler import Crawler
from scrapy.exceptions import DownloadCancelledError
from scrapy.http import Request, Response, TextResponse
from scrapy.responsetypes import responsetypes

from pipeline.content_coding import ACCEPTED, CutShortError, DecodingError, OversizeError, codings_of, decode
from pipeline.crawl.context import context_of
from pipeline.crawl.interfaces import UNCONDITIONAL
from pipeline.text import size_for_people


class DecodeBodies:
    """Replaces a compressed body with the decoded body.

    The body of a response from a server has already been decoded by the download handler; the body of a page from the page cache
    is decoded by this class.
    """

    def __init__(self, crawler: Crawler) -> None:
        self._decoded = context_of(crawler).decoded
        self._stats = None if context_of(crawler).table.is_built_in else crawler.stats
        self._max_bytes = crawler.settings.getint("DOWNLOAD_MAXSIZE")

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    def process_request(self, request: Request) -> None:
        request.headers.setdefault("Accept-Encoding", ACCEPTED)

    def process_response(self, request: Request, response: Response) -> Request | Response:
        values = response.headers.getlist("Content-Encoding")
        if not values or request.method == "HEAD":
            return response
        body = self._decoded.pop(response, None)
        if body is None:
            try:
                body = self._decode(request, response, values)
            except (CutShortError, DecodingError):  # the cached page is damaged, or an early version of this program has cached a truncated page
                if request.meta.get(UNCONDITIONAL):
                    raise
                return request.replace(dont_filter=True, meta={**request.meta, UNCONDITIONAL: True})
        if self._stats is not None:
            self._stats.inc_value("httpcompression/response_bytes", len(body))
            self._stats.inc_value("httpcompression/response_count")
        del response.headers["Content-Encoding"]
        kind = responsetypes.from_args(headers=response.headers, url=response.url, body=body)
        changed: dict[str, Any] = {"cls": kind, "body": body}
        if issubclass(kind, TextResponse):
            changed["encoding"] = None  # detect the encoding again, since it was detected in the compressed body
        decoded: Response = response.replace(**changed)
        return decoded

    def _decode(self, request: Request, response: Response, values: list[bytes]) -> bytes:
        """Return the decoded body.

        Raise DownloadCancelledError if the decoded body is too large, CutShortError or DecodingError if the body is damaged.
        """
        max_bytes = request.meta.get("download_maxsize", self._max_bytes)
        try:
            return decode(response.body, codings_of(value.decode("latin-1") for value in values), max_bytes or None)
        except OversizeError as error:
            raise DownloadCancelledError(f"the page is larger than {size_for_people(max_bytes)} after decoding") from error
