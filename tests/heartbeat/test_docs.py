"""The examples of docs/heartbeat.md, run as they stand but for the port."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.heartbeat.protocols.commands import HELP
from pipeline.settings import HeartbeatTable

PAGE = (Path(__file__).parents[2] / "docs" / "heartbeat.md").read_text("utf-8")
SHELL = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
         if not line.startswith("pipeline ")]


def ran(command, heartbeat):
    port = str(heartbeat.address[1])
    command = [part.replace("8000", port) for part in command]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout


@pytest.mark.needs("nc")
@pytest.mark.needs("curl")
@pytest.mark.parametrize("line", SHELL)
def test_a_shell_example_gets_an_answer(start, line):
    assert ran(["sh", "-c", line], start(udp=True)).strip()


def test_the_python_example_prints_the_health(heartbeat):
    example, = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert ran([sys.executable, "-c", example], heartbeat) == "ok []\n"


def test_the_page_names_every_word_and_every_setting():
    table = PAGE.partition("| word | answer |")[2].partition("\n\n")[0]
    words = re.findall(r"^\| `(\w+)(?: [A-Z]+)?` \|", table, re.MULTILINE)
    assert set(words) == set(re.findall(r"[a-z]+", HELP.partition(": ")[2].partition(";")[0]))
    example, = re.findall(r"```toml\n\[heartbeat\]\n(.*?)```", PAGE, re.DOTALL)
    assert set(re.findall(r"^(\w+) =", example, re.MULTILINE)) == set(HeartbeatTable.model_fields)
