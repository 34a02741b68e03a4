"""Fixtures for all tests: the `needs` mark, free ports, servers, and the search for leaked secrets."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
import trustme

from pipeline.store import open_store
from tests.compiled_once import compile_once
from tests.folder_in_memory import folder_in_memory
from tests.leaks import leaks, secrets_of
from tests.servers import ports
from tests.servers.authority import Authority
from tests.servers.pages import PageSite
from tests.servers.postgres import Postgres
from tests.servers.postgres import program as postgres_program
from tests.servers.program import Program
from tests.servers.s3 import S3Server

# A run's process has the environment that the forkserver started with, which is that of the first test that needed one.
os.environ.setdefault("SITE_PASSWORD", "geheim")
gc.disable()  # until all tests are collected: whatever that loads and creates stays
# The suite starts hundreds of processes. Without cached bytecode each compiles the program again, at a fifth of its CPU time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Each driver of a browser is a new Node.js, which otherwise compiles Playwright again, at a fifth of its CPU time.
os.environ.setdefault("NODE_COMPILE_CACHE", str(Path(sys.prefix, "node-compile-cache")))
if "PYTEST_DEBUG_TEMPROOT" not in os.environ and (_place := folder_in_memory()) is not None:
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(_place)
# A busy machine is no failure: neither an example nor the making of examples has a time limit.
hypothesis.settings.register_profile("tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("tests")
compile_once()


LONGEST = [
    "session/login/test_browser_login.py", "crawl/processes/test_scaling.py", "crawl/test_page_limit.py",
    "session/browser/test_browser.py", "service/test_signals.py", "session/test_trusted_origins.py", "service/test_service.py",
    "cluster/test_torture.py", "heartbeat/http/console/tasks/test_tasks.py", "service/test_mending.py", "session/login/test_failure_reasons.py",
    "crawl/browser/test_visual_watch_in_runs.py", "workers/test_run_downloads.py",
    "session/browser/test_guard_with_chromium.py", "download/test_one_bad_file.py", "crawl/frontier/test_unproved_pages.py",
    "crawl/browser/test_rendered_crawl.py", "service/test_every_digest_option.py", "service/test_postgresql.py",
    "cli/test_commands.py", "mail/transports/test_fault_matrix.py", "service/test_nodes.py", "service/test_digests_and_alerts.py",
    "workers/dispatcher/test_procrastinate.py", "crawl/browser/test_rendered_login.py", "service/test_torture.py",
    "test_script_applications.py", "test_faults.py", "session/responses/test_incomplete_responses.py",
    "store/maintenance/test_move.py", "browser/test_torture.py"]
"""Files that take longest. They start first, so that at the end no process waits for one that has a long file left."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by file: the longest first, then those with the most tests. `--no-loadscope-reorder` keeps this order."""
    folder = Path(__file__).parent
    if gone := [name for name in LONGEST if not (folder / name).is_file()]:
        raise pytest.UsageError(f"tests/conftest.py: LONGEST: no such file: {', '.join(gone)}")
    ranks = {folder / name: rank for rank, name in enumerate(LONGEST)}
    counts = Counter(item.path for item in items)
    items.sort(key=lambda item: (ranks.get(item.path, len(ranks)), -counts[item.path], item.path))


def pytest_collection_finish() -> None:
    """Let the garbage collector skip the modules and the tests themselves, which all stay: half a million objects."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """A command that a test runs in this process sets its own."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "dispatchers: runs with the local dispatcher on SQLite, and with procrastinate on PostgreSQL")
    config.addinivalue_line("markers", "sqlite: concerns a service that has its data for itself")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose program is missing, with the reason; in CI that is a failure, not a skip."""
    for mark in item.iter_markers("needs"):
        for program in mark.args:
            if not _is_here(program):
                reason = f"needs {program}, which is not installed here"
                if os.environ.get("CI"):
                    pytest.fail(reason)
                pytest.skip(reason)


def _is_here(program: str) -> bool:
    if program == "postgres":
        return bool(postgres_program("initdb"))
    if program == "mail parsers":  # of npm; `make parsers` installs them
        return (Path(__file__).parent / "mail" / "parsers" / "node_modules").is_dir()
    if program == "pywb":  # in an environment of its own; `make replay` installs it
        return (Path(__file__).parent / "archive" / "tools" / ".venv" / "bin" / "wayback").is_file()
    if program in ("verdaccio", "axe-core"):  # of npm; `make applications` installs them
        return (Path(__file__).parent / "applications" / "node_modules" / program).is_dir()
    return shutil.which(program) is not None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """No log, page, mail or answer that a test left behind has a secret in it that its settings refer to."""
    known = getattr(item, "funcargs", {})
    folder, running = known.get("tmp_path"), known.get("program")
    # Before the fixtures end: the environment is still the test's.
    secrets = secrets_of(folder, os.environ | (running.environment if running is not None else {})) if folder else {}
    found = leaks(folder, secrets) if secrets else []
    yield
    if found:
        pytest.fail(f"secrets were written: {found}", pytrace=False)


@pytest.fixture(autouse=True)
def _levels() -> Iterator[None]:
    """A test that sets up logging sets it up for itself alone."""
    root, before = logging.getLogger(), _levels_of_loggers()
    level = root.level
    yield
    root.setLevel(level)
    for name, now in _levels_of_loggers().items():
        if now != before.get(name, logging.NOTSET):  # setLevel() empties the caches of all loggers, which takes longer than many tests
            logging.getLogger(name).setLevel(before.get(name, logging.NOTSET))


def _levels_of_loggers() -> dict[str, int]:
    return {name: found.level for name, found in logging.root.manager.loggerDict.items()
            if isinstance(found, logging.Logger)}


@pytest.fixture
def free_port() -> int:
    return ports.free_port()


@pytest.fixture
def program(tmp_path: Path, free_port: int) -> Iterator[Program]:
    """The program in a folder of its own; its service ends with the test."""
    found = Program(tmp_path, free_port)
    yield found
    found.close()


@pytest.fixture
def site() -> Iterator[PageSite]:
    with PageSite() as started:
        yield started


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(trustme.CA(), tmp_path)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL for all tests that ask for it; each asks it for a database of its own."""
    started = Postgres()
    yield started
    started.close()


@pytest.fixture(scope="session")
def migrated(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a database that has the tables: copying it is faster than making them."""
    url = postgres.new_database()
    open_store(tmp_path_factory.mktemp("template"), url).close()
    return url.rpartition("/")[2]


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One S3 server for all tests that ask for it; the fixture `s3` empties it."""
    with S3Server() as started:
        yield started


@pytest.fixture
def s3(s3_server: S3Server) -> Iterator[S3Server]:
    """An S3 server that works and is empty, and has a bucket."""
    yield s3_server
    s3_server.resume()
    s3_server.empty()
