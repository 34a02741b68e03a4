"""Tests of what is said about the language model.

By check, on the pages, in the metrics and the status. Old requests are deleted.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from sqlalchemy import insert, select

from pipeline.cli.main import main
from pipeline.cli.service_status import status_table
from pipeline.cli.settings_check.language_model import check, leaving
from pipeline.heartbeat.http.metrics import exposition
from pipeline.heartbeat.snapshot.build import build_snapshot
from pipeline.heartbeat.snapshot.spider_status import DueTimes
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.database.schema import ai_requests
from pipeline.store.maintenance.retention import RetentionRules, prune
from tests.servers.language_model import Answer, LanguageModelServer

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
SettingsFrom = Callable[..., Settings]
AI = '[ai]\nbase_url = "{}"\nmodel = "qwen3"\n'
USED = """
[spiders.books]
start = "http://site.test/"
items = {{ each = "li", fields = {{ title = "h2", price = ".price", note = ".note" }} }}
display.hide = ["note"]
[spiders.own]
spider = "feed"
start = "http://site.test/feed"
[spiders.links]
start = "http://site.test/links"
items = {{ each = "li", key = ["url"], fields = {{ url = "a::attr(href)", picture = "img::attr(src)", to = {{ css = "b", type = "url" }} }} }}
[digests.morning]
spiders = ["books", "own", "links"]
to = ["me@example.com"]
{}
"""


@pytest.mark.parametrize(("ai", "said"), [
    (AI.format("http://127.0.0.1:8080/v1"), []),
    (AI.format("http://10.0.0.5/v1"), []),
    (AI.format("https://api.example.com/v1"), []),
    (AI.format("http://api.example.com/v1"), ["warning: ai.base_url: the changes are sent without encryption over the internet, to api.example.com; write an https URL"]),
    (AI.format("http://127.0.0.1:8080"), ['warning: ai.base_url: has no path, and most servers have their API under /v1; write "http://127.0.0.1:8080/v1"']),
    (AI.format("http://127.0.0.1:8080/v1/chat/completions/"), [
        'ai.base_url: is the URL of one request, and the program adds /chat/completions itself; write "http://127.0.0.1:8080/v1"']),
    (AI.format("http://127.0.0.1:8080/v1") + "max_tokens_per_day = 5000\n", [
        ("warning: ai.max_tokens_per_day: a single request may need 8,000 tokens, which is more than the limit of a day; increase it, or decrease "
        "max_input_tokens and max_output_tokens")]),
    ("", [])])
def test_check_finds_mistakes_in_the_table(settings_from: SettingsFrom, ai: str, said: list[str]) -> None:
    digest = "summary = true" if ai else ""
    assert [str(remark) for remark in check(settings_from(ai, spiders=USED.format(digest)))] == said


def test_check_says_that_nothing_uses_the_model_and_that_its_package_is_missing(settings_from: SettingsFrom, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_from(AI.format("http://127.0.0.1:8080/v1"))
    assert "no digest uses the language model" in " ".join(map(str, check(settings)))
    assert list(leaving(settings)) == []
    monkeypatch.setattr("pipeline.cli.settings_check.language_model.is_installed", lambda: False)
    remarks = list(check(settings_from(AI.format("http://127.0.0.1:8080/v1"), spiders=USED.format("summary = true"))))
    assert [str(remark) for remark in remarks] == [
        "ai: the language model needs the package openai, which is not installed; run `pip install 'crawl-to-inbox[ai]'`, or remove [ai]"]


def test_check_names_what_leaves_the_machine_and_asks_the_server(settings_from: SettingsFrom) -> None:
    with LanguageModelServer(lambda _: Answer('{"ready": true}'), models=("llama", "phi")) as server:
        settings = settings_from(AI.format(server.url) + 'mask = ["email", "iban"]\nmask_patterns = ["Case \\\\d+"]\n[mail]\nmaildir = "mail"\n',
                                 spiders=USED.format('summary = true\nhide = ["price"]'))
        said = CliRunner().invoke(main, ["check", "--connect", "--settings", settings.file]).output
    lines = said.splitlines()
    first = lines.index(f"sent to the language model qwen3 at {server.host} (this machine), in a digest with changes:")
    assert lines[first + 1] == ("  digests.morning (summary): books: title, without note, price; own: id, title, author, published, summary, tags, without price; "
                                "links: only the title, without price")
    assert lines[first + 2:first + 4] == ["  hidden before: secrets of the settings, URLs, e-mail addresses, account numbers, 1 own pattern",
                                          "  not hidden: phone numbers, card numbers"]
    assert "ai (answered with 110 tokens; the server lists other models: llama, phi): ok" in lines, said
    down = CliRunner().invoke(main, ["check", "--connect", "--settings", settings.file])
    assert f"ai: {server.host}: the language model cannot be reached; check that the server runs, and [ai] base_url" in down.output
    assert down.exit_code == 1


def _request(store: Store, at: datetime, state: str, tokens: tuple[int, int] = (0, 0), error: str = "") -> None:
    with store.write() as connection:
        connection.execute(insert(ai_requests).values(digest="morning", purpose="summary", model="qwen3", state=state, started_at=at, ended_at=at,
                                                      input_tokens=tokens[0], output_tokens=tokens[1], error=error))


def test_the_tokens_and_failures_of_today_are_in_the_status_the_metrics_and_on_the_page(
        store: Store, settings_from: SettingsFrom, capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_from(AI.format("http://127.0.0.1:8080/v1") + 'price_input = 0.5\nprice_output = 2.0\ncurrency = "EUR"\n')
    _request(store, NOW - timedelta(days=1), "done", (10**6, 10**6))
    _request(store, NOW - timedelta(hours=3), "done", (100_000, 20_000))
    _request(store, NOW - timedelta(hours=2), "failed", (1_000, 0), "the language model did not answer in time")

    def snapshot() -> dict:
        return build_snapshot(store, settings, DueTimes({}, NOW, NOW, lambda *_: None), version="1")

    found = snapshot()
    assert found["language_model"] == {
        "model": "qwen3", "host": "127.0.0.1:8080", "input_tokens": 101_000, "output_tokens": 20_000, "limit_tokens": 200_000, "cost": 0.0905, "currency": "EUR",
        "requests": {"reserved": 0, "done": 1, "failed": 1}, "failing": True, "last_error": "the language model did not answer in time",
        "last_error_at": "2026-11-22T06:00:00+00:00", "last_error_digest": "morning"}
    assert found["health"] == "ok", "a mail without a summary has all of its facts"
    metrics = exposition(found, "")[0].decode()
    for line in ('pipeline_model_tokens_today{direction="input"} 101000.0', 'pipeline_model_cost_today{currency="EUR"} 0.0905', "pipeline_model_failing 1.0",
                 'pipeline_model_requests_today{outcome="failed"} 1.0', "pipeline_model_tokens_limit 200000.0"):
        assert line in metrics.splitlines()
    status_table(found)
    assert "the language model did not answer in time (digest morning, 2026-11-22 06:00:00)" in " ".join(capsys.readouterr().out.split())
    status_table(found | {"language_model": found["language_model"] | {"last_error_digest": ""}})
    assert "(asked by a test, such as `check --connect`, 2026-11-22 06:00:00)" in " ".join(capsys.readouterr().out.split())
    _request(store, NOW - timedelta(hours=1), "done", (1, 1))
    assert snapshot()["language_model"]["failing"] is False
    status_table(snapshot())
    assert "did not answer" not in capsys.readouterr().out
    assert "language_model" not in build_snapshot(store, settings_from(""), DueTimes({}, NOW, NOW, lambda *_: None), version="1")


def test_requests_are_deleted_after_a_year(store: Store) -> None:
    for days in (400, 366, 364):
        _request(store, NOW - timedelta(days=days), "done")
    prune(store, RetentionRules(), now=NOW, by_age=False)
    prune(store, RetentionRules(), now=NOW)
    with store.read() as connection:
        assert connection.execute(select(ai_requests.c.started_at)).scalars().all() == [NOW - timedelta(days=364)]
