"""Tests the API with requests that schemathesis generates from its OpenAPI document.

tests/heartbeat/http/torture.py sends many more.
"""

from __future__ import annotations

from pipeline.heartbeat.http.api.resources import all_routes
from pipeline.heartbeat.http.api.route import PREFIX
from tests.heartbeat.http.torture import OWN_PROCESS, SETTINGS, send_generated
from tests.servers.program import Program


def test_every_route_answers_generated_requests_as_the_openapi_document_says(program: Program) -> None:
    program.write(SETTINGS)
    program.serve()
    sent = send_generated(program, examples=2, phases="fuzzing", seed=7)
    assert sent.returncode == 0, sent.stdout + sent.stderr
    assert f"Tested: {sum(PREFIX + route.path not in OWN_PROCESS for route in all_routes())}" in sent.stdout
    assert program.stop() == 0
