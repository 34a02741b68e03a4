"""Give the errbacks of spiders the exceptions that Scrapy documents, in place of this program's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from itemadapter import is_item
from scrapy import Request
from scrapy import exceptions as of_scrapy
from scrapy.exceptions import DownloadFailedError, DownloadTimeoutError, IgnoreRequest
from scrapy.spidermiddlewares.httperror import HttpError
from twisted.python.failure import Failure

from pipeline.errors import PipelineError
from pipeline.session.browser.net_errors import NotShownError

_DOCUMENTED = (*(each for each in vars(of_scrapy).values() if isinstance(each, type) and issubclass(each, Exception)), HttpError)


def is_ignored(reason: BaseException) -> bool:
    """Return whether a middleware of the spider or of Scrapy wants a request to be ignored. It is then no failed page."""
    return isinstance(reason, IgnoreRequest) and not any(isinstance(each, (PipelineError, HttpError)) for each in _causes(reason))


def for_errback(failure: Failure) -> Failure:
    """Return the failure with which a spider's errback is called: with an exception of Scrapy.

    A request that this program did not send has failed with IgnoreRequest, as if a middleware had refused it.
    """
    reason = failure.value
    assert reason is not None
    if not isinstance(reason, PipelineError):
        return failure
    causes = list(_causes(reason))
    shown: BaseException | None = next((each for each in causes if isinstance(each, _DOCUMENTED)), None)
    if shown is None:
        kind = DownloadTimeoutError if any(isinstance(each, (NotShownError, TimeoutError)) for each in causes) else (
            DownloadFailedError if reason.retry else IgnoreRequest)
        shown = kind(str(reason))
        shown.__cause__ = reason
    # Scrapy sets the attribute `request`, too.
    made = Failure(shown)  # type: ignore[no-untyped-call]
    made.request = failure.request  # type: ignore[attr-defined]
    return made


def entries_of(output: Any) -> Any:
    """Return the output of an errback as something that can be iterated over, as Scrapy does. A returned Failure is no output."""
    if output is None or isinstance(output, Failure):
        return ()
    return (output,) if is_item(output) or isinstance(output, Request) or (not hasattr(output, "__iter__") and not hasattr(output, "__aiter__")) else output


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__
