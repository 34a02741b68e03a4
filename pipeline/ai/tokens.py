"""Estimate how many tokens a text has, before a server has counted them."""

from __future__ import annotations

_BYTES_PER_TOKEN = 3
_MESSAGE_TOKENS = 20
"""What a server adds to the text of a message."""


def tokens_of(text: str) -> int:
    """Return the estimated number of tokens of a text.

    Tokenizers take about four characters of English for a token and about one of Chinese, so that one for three bytes of UTF-8 is rather
    too many.
    """
    return len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN + 1


def tokens_of_messages(messages: list[dict[str, str]]) -> int:
    return sum(tokens_of(message["content"]) + _MESSAGE_TOKENS for message in messages)
