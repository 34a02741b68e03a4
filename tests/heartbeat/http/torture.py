"""Sends many generated requests to the API of a live service, and checks each response.

The requests are generated from the OpenAPI document.

`python -m tests.torture heartbeat/http --examples 50`: every route with valid and invalid parameters, bodies, methods and tokens.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline.heartbeat.token import load_or_create_token
from tests.servers.ports import free_port
from tests.servers.program import Program

SETTINGS = """
    api_rate = 0
    [spiders.books]
    start = "http://127.0.0.1:9/"
    robots = false
    items = { each = "p", key = ["name"], fields = { name = "b" } }
    [digests.daily]
    spiders = ["books"]
    to = ["me@example.com"]
    [mail]
    maildir = "mails"
    from = "me@example.com"
    """
OWN_PROCESS = ("/api/v1/suggest", "/api/v1/check", "/api/v1/digests/{name}/preview",
               "/api/v1/spiders/{name}/items/export")
"""These start a process for each request: tests/service/test_on_request.py sends a few."""
NOT_IN_THE_SCHEMA = "positive_data_acceptance"
"""A cursor of nobody, and `field` without `value`, are refused, which a schema of single parameters cannot say."""


def send_generated(program: Program, *, examples: int, phases: str, seed: int) -> subprocess.CompletedProcess[str]:
    """Send generated requests to the API of a service that was started with SETTINGS."""
    token = load_or_create_token(program.data).reveal()
    left_out = [word for path in OWN_PROCESS for word in ("--exclude-path", path)]
    return subprocess.run(
        [Path(sys.executable).with_name("schemathesis"), "run", f"http://127.0.0.1:{program.port}/api/v1/openapi.json", *left_out,
         "--header", f"Authorization: Bearer {token}", "--checks", "all", "--exclude-checks", NOT_IN_THE_SCHEMA, "--phases", phases,
         "--max-examples", str(examples), "--seed", str(seed), "--continue-on-failure", "--no-color", "--generation-database", "none",
         "--request-timeout", "20"], cwd=program.folder, env=os.environ, capture_output=True, text=True, check=False)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--examples", type=int, default=30)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    given = parser.parse_args()
    print("seed", given.seed)
    with tempfile.TemporaryDirectory() as folder:
        program = Program(Path(folder), free_port())
        program.write(SETTINGS)
        program.serve()
        found = send_generated(program, examples=given.examples, phases="examples,coverage,fuzzing,stateful", seed=given.seed)
        print(found.stdout[-20_000:], found.stderr[-5000:])
        stopped = program.stop()
    sys.exit(found.returncode or stopped)


if __name__ == "__main__":
    main()
