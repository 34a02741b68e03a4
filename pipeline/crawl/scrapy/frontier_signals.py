"""Tell the frontier which of its requests a listener of Scrapy's signal request_scheduled has dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scrapy import Request, signals
from scrapy.exceptions import IgnoreRequest
from scrapy.signalmanager import SignalManager
from twisted.python.failure import Failure


class FrontierSignals(SignalManager):
    """The signals of a crawl. Scrapy's engine drops a redirect or retry in silence if a listener, such as OffsiteMiddleware, refuses it.

    on_dropped: called with such a request and the listener's exception.
    """

    on_dropped: Callable[[Request, IgnoreRequest], None] | None = None

    def send_catch_log(self, signal: Any, **kwargs: Any) -> list[tuple[Any, Any]]:
        answers = super().send_catch_log(signal, **kwargs)
        if signal is signals.request_scheduled and self.on_dropped is not None and (reason := refusal(answers)) is not None:
            self.on_dropped(kwargs["request"], reason)
        return answers

    def refused(self, request: Request, spider: Any) -> bool:
        """Send request_scheduled about a request that a page has yielded, and return whether a listener refuses the request."""
        return refusal(super().send_catch_log(signals.request_scheduled, request=request, spider=spider, dont_log=IgnoreRequest)) is not None


def refusal(answers: list[tuple[Any, Any]]) -> IgnoreRequest | None:
    """Return the IgnoreRequest that a listener has raised; None if none has."""
    return next((answer.value for _, answer in answers if isinstance(answer, Failure) and isinstance(answer.value, IgnoreRequest)), None)
