"""The error of a language model that gave no answer, with its reason."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pipeline.errors import PipelineError


class Reason(StrEnum):
    """Why there is no answer of the language model. The values are labels of metrics."""

    NOT_INSTALLED = "not_installed"
    NOT_SET_UP = "not_set_up"
    UNREACHABLE = "unreachable"
    TIME_LIMIT = "time_limit"
    OVER_BUDGET = "over_budget"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    REJECTED = "rejected"
    BAD_REQUEST = "bad_request"
    REFUSED = "refused"
    CUT = "cut"
    TOO_LONG = "too_long"
    NONSENSE = "nonsense"


_FINAL = frozenset({Reason.NOT_INSTALLED, Reason.NOT_SET_UP, Reason.UNREACHABLE, Reason.TIME_LIMIT, Reason.OVER_BUDGET, Reason.RATE_LIMITED,
                    Reason.REJECTED})


class ModelError(PipelineError):
    """The language model gave no usable answer. `what` is one sentence, which mails show in their language.

    retry_after_s: how many seconds the server asked to wait before another request; 0 if it did not. sent: whether the server may have
    worked on the request, so that its tokens count.
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "", retry: bool = False, reason: Reason = Reason.SERVER_ERROR,
                 retry_after_s: float = 0.0, sent: bool = False) -> None:
        super().__init__(what, where=where, fix=fix, retry=retry)
        self.reason = reason
        self.retry_after_s = retry_after_s
        self.sent = sent
        self.said = ""
        """What the server said with status 400 or 422, with the name of the parameter that it complained about."""
        self.recorded = False
        """Whether the database has the failure."""

    @property
    def final(self) -> bool:
        """Whether further requests for the same digest would fail, too, and only delay the mail."""
        return self.reason in _FINAL

    def __reduce__(self) -> tuple[object, ...]:
        more = {"reason": self.reason, "retry_after_s": self.retry_after_s, "sent": self.sent}
        return (_rebuild, ({"what": self.what, "where": self.where, "fix": self.fix, "retry": self.retry, **more},))


def _rebuild(values: dict[str, Any]) -> ModelError:
    return ModelError(**values)
