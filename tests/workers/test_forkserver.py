"""The forkserver starts before the first child process and leaves no files behind.

Children do not load the commands.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.postgres import Postgres
from tests.servers.program import Program

Start = Callable[..., subprocess.Popen[str]]
ROOT = Path(__file__).parents[2]
SCRIPT = """import re
import sys
from pipeline.__main__ import main
if __name__ == "__main__":
    import multiprocessing, multiprocessing.forkserver, signal
    from pathlib import Path
    from pipeline.workers.forkserver import warm_up
    context = multiprocessing.get_context("forkserver")

    def child(code):
        process = context.Process(target=exec, args=(code,))
        process.start()
        process.join()
"""
"""The script that pip installs for `pipeline`, up to the call of main()."""


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files with a short path, since the path of a socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def started(tmp_path: Path, temporary: Path) -> Start:
    def start(lines: str, folder: Path = temporary) -> subprocess.Popen[str]:
        script = tmp_path / f"pipeline-{len(list(tmp_path.iterdir()))}"
        script.write_text(SCRIPT + "".join(f"    {line}\n" for line in lines.splitlines()))
        return subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)})
    return start


def printed(command: subprocess.Popen[str]) -> str:
    with command:
        return command.communicate(timeout=60)[0]


def test_a_child_process_imports_the_main_script_but_not_the_commands(started: Start) -> None:
    code = "import sys; print([name in sys.modules for name in ('__mp_main__', 'pipeline.workers.entry', 'pipeline.cli')], flush=True)"
    assert printed(started(f"warm_up()\nchild({code!r})")) == "[True, True, False]\n"


@pytest.mark.needs("postgres")
def test_a_child_loads_nothing_more_for_postgresql(started: Start, postgres: Postgres, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from pipeline.store.database.engine import prepare_store
before = set(sys.modules)
store = prepare_store(Path({str(tmp_path / "var")!r}), {postgres.new_database()!r})
with store.read() as connection:
    connection.exec_driver_sql("SELECT 1")
print(sorted(name for name in set(sys.modules) - before if name.startswith(("psycopg", "sqlalchemy"))), flush=True)"""
    lines = f"from pipeline.workers.forkserver import USED_WITH_POSTGRESQL\nwarm_up(*USED_WITH_POSTGRESQL)\nchild({code!r})"
    assert printed(started(lines)) == "[]\n"


def test_the_folder_of_a_killed_forkserver_is_deleted_at_the_next_start_and_only_then(started: Start, temporary: Path) -> None:
    lines = "import pipeline.workers.forkserver as module\nmodule.ENTRY = 'pipeline'\nwarm_up()\nprint('started', flush=True)\n"  # without Scrapy
    with started(lines + "signal.pause()") as killed, started(lines + "sys.stdin.read()") as other:
        for command in (killed, other):
            assert command.stdout is not None
            assert command.stdout.readline() == "started\n"
        killed.kill()
        killed.communicate(timeout=60)
        assert len(list(temporary.iterdir())) == 2
        assert printed(started(lines)) == "started\n"
        assert len(list(temporary.iterdir())) == 1
        other.communicate("", timeout=60)
    assert list(temporary.iterdir()) == []


def test_children_start_if_a_later_python_lacks_the_undocumented_functions(started: Start) -> None:
    assert printed(started("del multiprocessing.forkserver.ensure_running\nwarm_up()\nchild(\"print('works', flush=True)\")")) == "works\n"


def test_a_folder_for_temporary_files_with_a_path_that_is_too_long_for_a_socket_is_reported(program: Program, tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    program.environment["TMPDIR"] = str(folder)
    program.write('[spiders.a]\nstart = "http://127.0.0.1:1/"\n[spiders.b]\nstart = "http://127.0.0.1:1/"\n')
    done = program.run("run", "--all")
    assert done.returncode == 2
    assert "TMPDIR: the socket of the fork server cannot be created: AF_UNIX path too long; set TMPDIR to a" in done.stderr


def test_the_forkserver_of_a_process_of_tests_has_loaded_what_runs_need() -> None:
    """It has one, which the first test that needs one starts. If that loads something else, each run of all later tests loads Scrapy anew."""
    word = "set_forkserver" + "_preload"
    assert [path for path in (ROOT / "tests").rglob("*.py") if word in path.read_text("utf-8")] == []
