"""Convert PDF responses to HTML pages with their text, in a separate process (setting `pdf = true`)."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Self

from scrapy.crawler import Crawler
from scrapy.exceptions import NotConfigured
from scrapy.http import HtmlResponse, Request, Response

from pipeline.crawl.context import context_of
from pipeline.crawl.extract import pdf_text
from pipeline.errors import FetchError
from pipeline.text import clean_line, shown_url

LIMIT_S = 30.0
_HEAD_BYTES = 1024  # PDF readers accept the header within this many bytes (ISO 32000-1, Annex H.3.4.1)


class PdfToHtml:
    """Replaces a PDF with an HTML page that contains the text of the PDF. If the PDF cannot be read, the page fails."""

    def __init__(self, crawler: Crawler) -> None:
        if not context_of(crawler).table.pdf:
            raise NotConfigured

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    async def process_response(self, request: Request, response: Response) -> Response:
        if not is_pdf(response.body):
            return response
        page = await page_of(response.body, shown_url(response.url))
        return HtmlResponse(url=response.url, status=response.status, body=page, encoding="utf-8", request=request)


def is_pdf(data: bytes) -> bool:
    return b"%PDF-" in data[:_HEAD_BYTES]


async def page_of(data: bytes, where: str) -> bytes:
    """Return an HTML page with the text of a PDF.

    Raise FetchError if the data is not a PDF, is protected by a password, or exceeds a limit set in pdf_text.py.
    """
    # Run the file and not `-m`, because `pipeline` may not be importable from the working directory. -P: the script's folder is not
    # added to sys.path.
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", str(Path(pdf_text.__file__)),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(LIMIT_S):
            page, said = await process.communicate(data)
    except TimeoutError as error:
        raise FetchError(f"the PDF was not converted within {LIMIT_S:.0f} s", where=where, fix="exclude the PDF with `deny`") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        lines = said.decode("utf-8", "replace").strip().splitlines() or [f"the converter ended with exit code {process.returncode}"]
        raise FetchError(f"the PDF cannot be read: {clean_line(lines[-1], 200)}", where=where, fix="exclude the PDF with `deny`")
    return page
