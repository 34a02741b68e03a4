"""Ask a language model whose server answers hostile bytes from a seed.

Each answer must end in an instance of the schema or a ModelError, in time.

    python -m tests.torture ai --answers 3000 --seed 1

A third of the answers are hostile HTTP responses; the others are a good answer, streamed or whole, with bytes that were changed, removed, repeated or
inserted at random places.
"""

from __future__ import annotations

import argparse
import collections
import json
import logging
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

from pydantic import BaseModel
from sqlalchemy import select

from pipeline.ai.budget import Budget
from pipeline.ai.errors import ModelError
from pipeline.ai.language_model import LanguageModel
from pipeline.ai.prompt import Record
from pipeline.languages import reasons
from pipeline.settings.models.ai import AiTable
from pipeline.store import open_store
from pipeline.store.database.schema import ai_requests
from tests.servers.hostile_answers import hostile_answer
from tests.servers.scripted import Asked, ScriptedServer

TIMEOUT_S = 2.0
_JUNK = [b"\x00", b"\xff", b"\r\n", b"\n\n", b"data: ", b"data: [DONE]\n\n", b"{", b"}", b"[", b'"', b"null", b"-1", b"1e999", b"9" * 400, b"\xed\xa0\x80", b"\\ud800",
         b'{"error":{"message":7}}', b'{"error":"x"}', b'"choices":[]', b'"delta":null', b'"usage":{"prompt_tokens":-5}', b"event: error\n", b"id: 1\nretry: 0\n",
         b"HTTP/1.1 200 OK\r\n", b"a" * 5000, b'"finish_reason":"length"', b'"refusal":"no"']


class Told(BaseModel):
    title: str
    items: list[int]


def answer(seed: int) -> bytes:
    """The bytes of an answer. The same seed gives the same bytes."""
    if seed % 3 == 0:
        return hostile_answer(seed)
    chance = random.Random(seed)
    told = json.dumps({"title": "Two books", "items": [1, 2]})
    if chance.random() < 0.6:
        pieces = [told[at:at + 9] for at in range(0, len(told), 9)]
        events: list[dict[str, object]] = [{"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]} for piece in pieces]
        events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        events.append({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 6}})
        kind, body = "text/event-stream", b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"
    else:
        message = {"role": "assistant", "content": told}
        kind, body = "application/json", json.dumps({"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 5}}).encode()
    data = b"HTTP/1.1 200 OK\r\nContent-Type: " + kind.encode() + b"\r\n\r\n" + body
    least = 0 if chance.random() < 0.2 else data.index(b"\r\n\r\n") + 4  # most changes are in the body
    for _ in range(chance.choice((0, 1, 1, 2, 5))):
        at, to = sorted(chance.randrange(least, len(data) + 1) for _ in range(2))
        to = min(to, at + chance.choice((0, 1, 5, 200)))
        data = data[:at] + chance.choice((b"", chance.choice(_JUNK), data[at:to] * 2)) + data[to:]
    return data


def torture(folder: Path, *, answers: int, seed: int, say: Callable[[str], None] = print) -> collections.Counter[str]:
    """Return how often each end occurred: "answered" or the reason of a ModelError. Raises AssertionError."""
    ends: collections.Counter[str] = collections.Counter()
    store = open_store(folder / "var")
    numbers = iter(range(seed, seed + answers))
    current = 0

    def script(asked: Asked) -> bytes:
        return answer(current)

    with ScriptedServer(script) as server:
        table = AiTable(base_url=f"{server.url}/v1", model="m", timeout=f"{int(TIMEOUT_S * 1000)}ms", retries=0, max_tokens_per_day=10**9)
        for current in numbers:
            model = LanguageModel(table, Budget(store, limit=table.max_tokens_per_day, zone=ZoneInfo("UTC"), digest="d", model="m"), first_delay_s=0.001)
            began = time.monotonic()
            failure = None
            try:
                told = model.ask("test", "Say which books are new.", [Record(1, "Emma")], Told)
            except ModelError as error:
                failure = error
            except BaseException:
                say(f"seed {current}")
                raise
            else:
                assert isinstance(told, Told)
                ends["answered"] += 1
            if failure is not None:
                ends[str(failure.reason)] += 1
                assert all(part.is_known for part in reasons("en").parts(failure.what)), f"seed {current}: {failure.what}"
            assert time.monotonic() - began < 3 * TIMEOUT_S + 5, f"seed {current} took {time.monotonic() - began:.1f} s"
    with store.read() as connection:
        assert not connection.execute(select(ai_requests).where(ai_requests.c.state == "reserved")).all(), "each request is settled"
    store.close()
    return ends


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--answers", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print("seed", options.seed, flush=True)
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        ends = torture(Path(folder), answers=options.answers, seed=options.seed)
    print(f"{options.answers} answers in {time.monotonic() - began:.0f} s: {dict(ends.most_common())}")
    sys.exit(0)


if __name__ == "__main__":
    main()
