"""After a large page its process is about as small as before."""

from __future__ import annotations

import os
import subprocess
import sys
from ctypes import CDLL
from pathlib import Path

import pytest

from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.program import Program

pytestmark = pytest.mark.skipif(sys.platform != "linux" or not hasattr(CDLL(None), "malloc_trim"), reason="glibc only")
LARGE = "<p><a href=/next>x</a></p>" * 120_000  # 3 MB, whose tree takes about 80 MB
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


def memory_at_the_page_after(first: str, program: Program, name: str) -> int:
    """The memory of a run's largest process when it asks for /next."""
    found: list[int] = []

    def page(_: Asked) -> Answer:
        found.append(max(map(resident_bytes, program.descendants())))
        return Answer("<p>the last</p>")

    with PageSite({"/": first, "/next": page}) as site:
        program.write(f'[spiders.{name}]\nstart = "{site.url}/"\nfollow = ["a"]\nrobots = false\n')
        command = subprocess.Popen([sys.executable, "-m", "pipeline", "run", name], cwd=program.folder, text=True,
                                   env=program.variables(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        program.watch(command.pid)
        out, _ = command.communicate(timeout=60)
        assert command.returncode == 0, out
    return found[0]


def test_the_memory_of_a_large_page_is_returned_before_the_next_page(program: Program) -> None:
    after_small = memory_at_the_page_after("<a href=/next>x</a>", program, "small")
    after_large = memory_at_the_page_after(LARGE, program, "large")
    assert after_large - after_small < 30_000_000
