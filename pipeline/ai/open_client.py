"""Open the client of the language model, which needs the extra `ai`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from pipeline.ai.errors import ModelError, Reason
from pipeline.errors import UsageError
from pipeline.settings import AiTable

if TYPE_CHECKING:
    from pipeline.ai.client import ChatClient

INSTALL = "run `pip install 'crawl-to-inbox[ai]'`"


def is_installed() -> bool:
    return find_spec("openai") is not None


def open_client(table: AiTable) -> ChatClient:
    """Return a client for the server of [ai]. Raises ModelError if openai is not installed, or the key of the API cannot be read."""
    if not is_installed():
        raise ModelError("the package openai is not installed", fix=INSTALL, reason=Reason.NOT_INSTALLED)
    from pipeline.ai.client import ChatClient  # noqa: PLC0415  openai takes half a second to load

    try:
        key = table.api_key.reveal() if table.api_key is not None else ""
    except UsageError as error:
        raise ModelError("the key of the language model's API cannot be read", where="ai.api_key", fix=error.what, reason=Reason.NOT_SET_UP) from error
    if not key.isascii() or not key.isprintable():
        raise ModelError("the key of the language model's API contains characters that no key has", where="ai.api_key", reason=Reason.NOT_SET_UP)
    return ChatClient(table.base_url, key.strip(), table.model, host=table.host)
