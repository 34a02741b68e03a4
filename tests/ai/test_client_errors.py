"""Tests that every exception of openai and of its HTTP client has a meaning and its texts.

Each meaning has its texts in all languages.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from types import ModuleType

import httpx2
import openai
import pytest
from openai import _exceptions as openai_exceptions

from pipeline.ai.client_errors import _TABLE, translated
from pipeline.ai.errors import ModelError, Reason
from pipeline.languages import LANGUAGES, reasons

REQUEST = httpx2.Request("POST", "http://model.test/v1/chat/completions")


def _exceptions_of(*modules: ModuleType) -> list[type[BaseException]]:
    """What the modules export, without the objects of openai that load a module each when anything is asked of them."""
    kinds = (kind for module in modules for kind in vars(module).values() if issubclass(type(kind), type))
    found = {kind for kind in kinds if issubclass(kind, BaseException) and kind.__module__.split(".")[0] in ("openai", "httpx2")}
    return sorted(found, key=lambda kind: kind.__name__)


def _instance(kind: type[BaseException]) -> BaseException:
    """An exception with the attributes that its class promises, without its constructor, which differs from class to class."""
    error = kind.__new__(kind)
    BaseException.__init__(error, "said so")
    status = getattr(kind, "status_code", 500)
    status = status if isinstance(status, int) else {"BadRequestError": 400, "AuthenticationError": 401, "PermissionDeniedError": 403, "NotFoundError": 404,
                                                     "ConflictError": 409, "UnprocessableEntityError": 422, "RateLimitError": 429}.get(kind.__name__, 500)
    vars(error).update(message="said so", body=None, code=None, param=None, request=REQUEST, status_code=status, response=httpx2.Response(status, request=REQUEST))
    return error


@pytest.mark.parametrize("kind", _exceptions_of(openai, openai_exceptions, httpx2), ids=lambda kind: kind.__name__)
def test_every_exception_of_the_libraries_has_a_meaning(kind: type[BaseException]) -> None:
    assert any(issubclass(kind, row[0]) for row in _TABLE), f"{kind.__name__} has no row"
    error = translated(_instance(kind), "model.test")
    assert isinstance(error, ModelError)
    assert error.where == "model.test"
    for language in LANGUAGES:
        assert all(part.is_known for part in reasons(language).parts(str(error))), str(error)


def test_a_more_special_exception_is_before_its_base_class() -> None:
    for number, (kind, *_) in enumerate(_TABLE):
        assert not any(issubclass(kind, earlier) for earlier, *_ in _TABLE[:number]), f"the row of {kind.__name__} is never used"


def _chains() -> Iterator[tuple[BaseException, Reason]]:
    """What openai wraps into its own exceptions."""
    def wrapped(cause: BaseException, *more: BaseException) -> BaseException:
        error: BaseException = openai.APIConnectionError(request=REQUEST)
        first = error
        for each in (cause, *more):
            error.__cause__ = each
            error = each
        return first

    certificate = ssl.SSLCertVerificationError("certificate verify failed")
    yield wrapped(httpx2.ConnectError("refused")), Reason.UNREACHABLE
    yield wrapped(httpx2.ConnectError("ssl"), certificate), Reason.UNREACHABLE
    yield wrapped(httpx2.ReadError("reset")), Reason.CUT
    yield wrapped(httpx2.RemoteProtocolError("peer closed")), Reason.CUT
    yield wrapped(httpx2.UnsupportedProtocol("ftp")), Reason.NOT_SET_UP


@pytest.mark.parametrize(("error", "reason"), list(_chains()))
def test_the_exception_that_openai_wrapped_decides(error: BaseException, reason: Reason) -> None:
    assert translated(error, "model.test").reason is reason
