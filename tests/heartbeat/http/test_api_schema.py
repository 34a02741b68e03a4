"""Tests the API with requests that schemathesis generates from its OpenAPI document: tests/heartbeat/http/torture.py sends many more."""

from __future__ import annotations

from tests.heartbeat.http.torture import SETTINGS, send_generated
from tests.servers.program import Program


def test_every_route_answers_generated_requests_as_the_openapi_document_says(program: Program) -> None:
    program.write(SETTINGS)
    program.serve()
    sent = send_generated(program, examples=2, phases="fuzzing", seed=7)
    assert sent.returncode == 0, sent.stdout + sent.stderr
    assert "Tested: 31" in sent.stdout
    assert program.stop() == 0
