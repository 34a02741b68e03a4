"""Run the examples of docs/heartbeat.md with another port."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.heartbeat.protocols.commands import COMMANDS, help_line
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


def test_the_page_and_help_list_the_commands_of_the_registry():
    usages = [f"{command.name} {command.argument}".rstrip() for command in COMMANDS.values()]
    table = PAGE.partition("| command | answer |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(.+?)` \| (.+) \|$", table, re.MULTILINE) == [
        (usage, command.help) for usage, command in zip(usages, COMMANDS.values(), strict=True)]
    assert help_line() == f"commands, one per line: {', '.join(usages)}; any other text is echoed as [timestamp] text"


def test_the_page_names_every_setting():
    example, = re.findall(r"```toml\n\[heartbeat\]\n(.*?)```", PAGE, re.DOTALL)
    assert set(re.findall(r"^(\w+) =", example, re.MULTILINE)) == set(HeartbeatTable.model_fields)
