"""Translate the exceptions of openai, and of the HTTP client below it, into ModelError."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time

import anyio
import httpx2
import openai

from pipeline.ai.answers import plain
from pipeline.ai.errors import ModelError, Reason
from pipeline.ai.transport import ResponseTooLargeError, UnexpectedCodingError

_MAX_SAID = 200

_TABLE: tuple[tuple[type[BaseException], Reason, str, bool, bool], ...] = (
    # exception, reason, sentence, whether another attempt can help, whether the server may have worked on the request
    (ResponseTooLargeError, Reason.TOO_LONG, "the answer of the language model is too long", False, True),
    (UnexpectedCodingError, Reason.NONSENSE, "the language model answered with something else than was asked for", False, True),
    (openai.APITimeoutError, Reason.TIME_LIMIT, "the language model did not answer in time", False, True),
    (httpx2.ConnectTimeout, Reason.UNREACHABLE, "the language model cannot be reached: the connection timed out", True, False),
    (httpx2.TimeoutException, Reason.TIME_LIMIT, "the language model did not answer in time", False, True),
    (httpx2.ConnectError, Reason.UNREACHABLE, "the language model cannot be reached", True, False),
    (httpx2.ProxyError, Reason.UNREACHABLE, "the language model cannot be reached", True, False),
    (httpx2.UnsupportedProtocol, Reason.NOT_SET_UP, "the URL of the language model cannot be used", False, False),
    (httpx2.InvalidURL, Reason.NOT_SET_UP, "the URL of the language model cannot be used", False, False),
    (httpx2.CookieConflict, Reason.NONSENSE, "the language model answered with something else than was asked for", False, True),
    (httpx2.DecodingError, Reason.NONSENSE, "the language model answered with something else than was asked for", False, True),
    (httpx2.SSEError, Reason.NONSENSE, "the language model answered with something else than was asked for", False, True),
    (httpx2.TooManyRedirects, Reason.REJECTED, "the server of the language model redirects to another address", False, False),
    (httpx2.HTTPStatusError, Reason.SERVER_ERROR, "the server of the language model failed", True, True),
    (httpx2.HTTPError, Reason.CUT, "the answer of the language model was cut short", True, True),
    (httpx2.StreamError, Reason.CUT, "the answer of the language model was cut short", True, True),
    (ssl.SSLCertVerificationError, Reason.UNREACHABLE, "the certificate of the language model's server cannot be verified", False, False),
    (ssl.SSLError, Reason.CUT, "the answer of the language model was cut short", True, True),
    (anyio.EndOfStream, Reason.CUT, "the answer of the language model was cut short", True, True),
    (openai.APIConnectionError, Reason.UNREACHABLE, "the language model cannot be reached", True, False),
    (openai.LengthFinishReasonError, Reason.TOO_LONG, "the answer of the language model is too long", False, True),
    (openai.ContentFilterFinishReasonError, Reason.REFUSED, "the language model refused to answer", False, True),
    (openai.APIResponseValidationError, Reason.NONSENSE, "the language model answered with something else than was asked for", False, True),
    (openai.AuthenticationError, Reason.REJECTED, "the server of the language model does not accept the key of the API", False, False),
    (openai.PermissionDeniedError, Reason.REJECTED, "the server of the language model does not accept the key of the API", False, False),
    (openai.NotFoundError, Reason.REJECTED, "the server of the language model does not know the model or the URL", False, False),
    (openai.RateLimitError, Reason.RATE_LIMITED, "the server of the language model asks to wait", True, False),
    (openai.ConflictError, Reason.SERVER_ERROR, "the server of the language model failed", True, False),
    (openai.InternalServerError, Reason.SERVER_ERROR, "the server of the language model failed", True, False),
    (openai.APIStatusError, Reason.REJECTED, "the server of the language model rejected the request", False, False),
    (openai.APIError, Reason.SERVER_ERROR, "the server of the language model failed", True, True),
    (openai.OpenAIError, Reason.SERVER_ERROR, "the request to the language model failed", False, True),
    (openai.InvalidWebhookSignatureError, Reason.NONSENSE, "the language model answered with something else than was asked for", False, True),
    (UnicodeError, Reason.NONSENSE, "the language model answered with something else than was asked for", False, True),
    (ValueError, Reason.NONSENSE, "the language model answered with something else than was asked for", False, True),
    (RecursionError, Reason.NONSENSE, "the language model answered with something else than was asked for", False, True),
    (OSError, Reason.CUT, "the answer of the language model was cut short", True, True),
)
"""The first row that fits an exception says what it means. A subclass is before its base class."""
_FIXES = {
    Reason.UNREACHABLE: "check that the server runs, and [ai] base_url",
    Reason.NOT_SET_UP: "correct [ai] base_url",
}
_CERTIFICATE_FIX = "add the certificate of its authority to those of the system, or name its file in the environment variable SSL_CERT_FILE"


def translated(error: BaseException, where: str) -> ModelError:
    """Return what an exception of the client means. where: the host of the server.

    An exception that no row names, such as a mistake in the client itself, counts as a failure without another attempt.
    """
    root = _root(error)
    _, reason, sentence, retry, sent = next((row for row in _TABLE if isinstance(root, row[0])),
                                            (Exception, Reason.SERVER_ERROR, "the request to the language model failed", False, True))
    if isinstance(root, openai.APIStatusError):
        if 300 <= root.status_code < 400:
            return ModelError(f"the server of the language model redirects to another address: HTTP {root.status_code}", where=where, reason=Reason.REJECTED)
        if root.status_code in (400, 413, 422):
            reason = Reason.BAD_REQUEST
        elif root.status_code in (408, 425):
            reason, sentence, retry = Reason.SERVER_ERROR, "the server of the language model failed", True
        sentence += f": HTTP {root.status_code}{said_by(root)}"
    elif isinstance(root, openai.APIError) and type(root) is openai.APIError:
        sentence += f": “{short_said(root.message)}”"
    fix = _CERTIFICATE_FIX if isinstance(root, ssl.SSLCertVerificationError) else _FIXES.get(reason, "")
    return ModelError(sentence, where=where, fix=fix, retry=retry, reason=reason, retry_after_s=_retry_after(root), sent=sent)


def _root(error: BaseException) -> BaseException:
    """Return the exception that says most: one about a certificate, else the one of the HTTP client that openai has wrapped."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    certificate = next((each for each in chain if isinstance(each, ssl.SSLCertVerificationError)), None)
    return certificate or next((each for each in chain if not isinstance(each, openai.APIConnectionError)), error)


def said_by(error: openai.APIStatusError) -> str:
    """Return what the server said with an error status, as “text” after a comma; "" if it said nothing."""
    body = error.body
    said = body.get("message") or body.get("error") or body.get("detail") if isinstance(body, Mapping) else body
    text = short_said(said)
    return f", “{text}”" if text else ""


def short_said(text: object) -> str:
    """Return what a server said as a mail shows it between quotation marks: plain text without URLs; "" if it is no text."""
    return "" if not isinstance(text, str) else plain(text.replace("”", "\"").replace("“", "\""), _MAX_SAID)


def _retry_after(error: BaseException) -> float:
    """Return the seconds that a Retry-After header asks to wait, whether it has a number or a date (RFC 9110, 10.2.3); 0 without one."""
    if not isinstance(error, openai.APIStatusError):
        return 0.0
    value = error.response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdecimal():
        return float(value[:9])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time()) if value else 0.0
    except (ValueError, OverflowError):
        return 0.0
