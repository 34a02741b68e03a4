"""The optional parts of a request, and which of them is left out when a server refuses the request."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel

from pipeline.ai.prompt import strict_schema

_NEXT_FORMAT: dict[str, Literal["json_object", ""]] = {"json_schema": "json_object", "json_object": ""}
_NO_FORM = ("context", "maximum tokens", "too long", "does not exist", "not found", "billing", "quota", "credit", "policy")
"""What a refusal says that no other form of the request would change."""


@dataclass(frozen=True)
class RequestForm:
    """Which optional parts of the API a server accepts.

    answer_format: the `response_format`; "" for none. limit: the name of the parameter that limits the answer. usage: whether the end of
    the stream says how many tokens were used. temperature: whether the most probable answer can be asked for.
    """

    answer_format: Literal["json_schema", "json_object", ""] = "json_schema"
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    usage: bool = True
    temperature: bool = True

    def parameters(self, schema: type[BaseModel], max_output_tokens: int) -> dict[str, Any]:
        """Return the parameters of a request beside its model and its messages."""
        found: dict[str, Any] = {self.limit: max_output_tokens}
        if self.answer_format == "json_schema":
            found["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": strict_schema(schema)}}
        elif self.answer_format:
            found["response_format"] = {"type": self.answer_format}
        if self.usage:
            found["stream_options"] = {"include_usage": True}
        if self.temperature:
            found["temperature"] = 0
        return found

    def after_refusal(self, said: str) -> RequestForm | None:
        """Return the form to try after a server refused this one with status 400 or 422; None if another form would not help.

        said: what the server said, and the name of the parameter that it complained about.
        """
        said = said.lower()
        if "max_tokens" in said and self.limit == "max_tokens":
            return replace(self, limit="max_completion_tokens")
        if "stream_options" in said and self.usage:
            return replace(self, usage=False)
        if "temperature" in said and self.temperature:
            return replace(self, temperature=False)
        if self.answer_format and not any(word in said for word in _NO_FORM):
            return replace(self, answer_format=_NEXT_FORMAT[self.answer_format])
        return None
