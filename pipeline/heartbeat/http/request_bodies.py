"""Request bodies: only small forms are read; all other bodies are refused without being read."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qsl

from aiohttp import web

from pipeline.heartbeat.http.access.identifier import CALLER

FORM_BYTES = 16 * 1024
"""Maximum size of a form in bytes; the forms on the pages have only one field."""
DRAFT_FORM_BYTES = 256 * 1024
"""Maximum size of a form with the text of a settings file, percent-encoded."""
LARGE_FORMS = frozenset({"/new-spider/draft", "/new-spider/try", "/new-spider/save", "/spiders/{name}/try", "/spiders/{name}/save"})
"""The paths of these forms. Other callers than those that may act get the limit of all forms."""
_FORM = "application/x-www-form-urlencoded"
_FIELDS = 300
_READ: web.RequestKey[dict[str, list[str]]] = web.RequestKey("form", dict[str, list[str]])


def most_bytes(request: web.Request) -> int:
    """Return the maximum size of the form that a request may have."""
    resource, caller = request.match_info.route.resource, request.get(CALLER)
    is_large = resource is not None and resource.canonical in LARGE_FORMS and caller is not None and caller.may_act
    return DRAFT_FORM_BYTES if is_large else FORM_BYTES


def has_body(request: web.Request) -> bool:
    """Return whether the request headers announce a body (RFC 9112, 6.3)."""
    return "Transfer-Encoding" in request.headers or request.headers.get("Content-Length", "0").strip("0") != ""


def refusal(request: web.Request) -> web.Response | None:
    """Return a 413 or 415 response to a request whose body is not accepted, otherwise None.

    Only the headers of the request are examined. The server accepts only forms that are urlencoded, in UTF-8, without content
    coding, and at most `most_bytes` long.
    """
    if not has_body(request) or request.match_info.http_exception is not None:  # the response is 404 or 405, for which aiohttp reads no body
        return None
    if request.method != "POST":
        return web.Response(status=413, text="error: requests to this URL must not have a body\n")
    coding = request.headers.get("Content-Encoding", "identity").strip().lower()
    charset = request.charset
    if coding not in {"", "identity"} or request.content_type != _FORM or (charset or "utf-8").lower() not in {"utf-8", "utf8"}:
        return web.Response(status=415, text=f"error: a form must be sent as {_FORM} in UTF-8, without Content-Encoding\n",
                            headers={"Accept": _FORM, "Accept-Encoding": "identity"})
    if (request.content_length or 0) > most_bytes(request):
        return web.Response(status=413, text=f"error: a form may have at most {most_bytes(request)} bytes\n")
    return None


async def field_of(request: web.Request, name: str, *, timeout_s: float) -> str:
    """Return a field of the form in the request's body; "" if there is no such field.

    Raises an HTTPException if the body is not a valid form.
    """
    return (await _form_of(request, timeout_s)).get(name, [""])[-1]


async def values_of(request: web.Request, name: str, *, timeout_s: float) -> list[str]:
    """Return all values of a field of the form in the request's body, such as of checkboxes with the same name.

    Raises an HTTPException as `field_of` does.
    """
    return (await _form_of(request, timeout_s)).get(name, [])


async def _form_of(request: web.Request, timeout_s: float) -> dict[str, list[str]]:
    """Return the fields of the form in the request's body, which is read once."""
    if not has_body(request):
        return {}
    if _READ in request:
        return request[_READ]
    body = b""
    try:
        async with asyncio.timeout(timeout_s):
            most = most_bytes(request)
            while chunk := await request.content.read(most + 1 - len(body)):
                body += chunk
                if len(body) > most:
                    raise web.HTTPRequestEntityTooLarge(most)
        fields = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=_FIELDS, errors="strict")
    except TimeoutError as error:
        raise web.HTTPRequestTimeout from error
    except (ValueError, web.RequestPayloadError) as error:  # invalid chunks or invalid UTF-8
        raise web.HTTPBadRequest from error
    form = request[_READ] = {}
    for name, value in fields:
        form.setdefault(name, []).append(value)
    return form
