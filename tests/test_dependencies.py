"""What is used of dependencies: only public interfaces, and no dependency without need.

Each is used by the part that needs it.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from pkgutil import resolve_name

import pytest

from tests.servers.smtp import SmtpServer

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("pipeline/**/*.py"), *ROOT.glob("spiders/*.py")])

PRIVATE = {
    "pipeline/crawl/scrapy/engine_control.py": {"_slot"},
    "pipeline/crawl/scrapy/fast_engine.py": {
        "_check_if_closing", "_download", "_enqueue_request", "_get_slot", "_handle_mw_method", "_mw_methods_requiring_spider", "_parse",
        "_process_spidermw_output_async", "_scrape", "_slot"},
    "pipeline/crawl/scrapy/response_protocol.py": {"_factory", "_payload", "_skip_payload", "_parser"},
    "pipeline/session/transport/connections.py": {"_new_conn"},
    "pipeline/service/scheduling.py": {"_run_job_success"},  # named in APScheduler's guide to executors of one's own
}
"""Private names of dependencies, by file. Each file says why there is no other way, and a contract test fails without them."""

DOCUMENTED = {"_replace", "_asdict", "_mapping", "_exit"}
"""Names with an underscore that their documentation has: of named tuples, of SQLAlchemy's rows, of os."""

UNDOCUMENTED = {
    "multiprocessing.forkserver:ensure_running": "pipeline/workers/forkserver.py",  # these three are in __all__; without them, slower
    "multiprocessing.resource_tracker:ensure_running": "pipeline/workers/forkserver.py",
    "multiprocessing.util:get_temp_dir": "pipeline/workers/forkserver.py",
    "yagmail:Client.connection": "pipeline/mail/transports/yagmail_connection.py",  # for the dialogue of the connection
    "yagmail:Client.login": "pipeline/mail/transports/yagmail_connection.py",
    "http.client:HTTPConnection.response_class": "pipeline/session/transport/connections.py",
}
"""Names of dependencies that have no underscore and no documentation, with the only file that uses them."""

WITHOUT_IMPORT = {
    "tzdata": "zoneinfo reads it where the system has no zones",
}
"""Dependencies without an import statement, with the reason."""

BROUGHT_ALONG = {"annotated_types": "pydantic", "itemadapter": "scrapy", "pydantic_core": "pydantic", "pydispatch": "scrapy",
                 "socks": "requests", "twisted": "scrapy", "yarl": "aiohttp", "multidict": "aiohttp", "httpx2": "openai", "anyio": "openai"}
"""Modules that are part of a dependency's own interface, and are installed with it."""


@cache
def nodes(path: Path) -> list[ast.AST]:
    """Return the nodes of a file, which several tests look at."""
    return list(ast.walk(ast.parse(path.read_text("utf-8"))))


def private_names(tree: Sequence[ast.AST], own: Counter[str]) -> Iterator[str]:
    """Names with one leading underscore that a file takes from something that this program did not define.

    A method that calls super()'s, and is defined nowhere else in this program, overrides one of a dependency. What a class with
    bases of dependencies only reads of itself, and does not define, is theirs.
    """
    for node in tree:
        if isinstance(node, ast.Attribute) and own[node.attr] <= is_super(node.value):
            yield node.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr", "setattr"):
            yield from (str(name.value) for name in node.args[1:2] if isinstance(name, ast.Constant))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level and not node.module.startswith(("pipeline", "__")):
            yield from (*node.module.split("."), *(alias.name for alias in node.names))
        elif isinstance(node, ast.Import):
            yield from (part for alias in node.names for part in alias.name.split("."))
        elif isinstance(node, ast.ClassDef) and node.bases and not any(own[ast.unparse(base).split(".")[-1]] for base in node.bases):
            yield from inherited_names(node)


def is_super(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def inherited_names(kind: ast.ClassDef) -> Iterator[str]:
    """Attributes that a class reads of itself, and does not define."""
    attributes = [node for node in ast.walk(kind) if isinstance(node, ast.Attribute)]
    here = {*defined_here(ast.walk(kind)), *(node.attr for node in attributes if isinstance(node.ctx, ast.Store))}
    yield from (node.attr for node in attributes if node.attr not in here and is_self(node.value))


def defined_here(tree: Iterable[ast.AST]) -> Iterator[str]:
    for node in tree:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            yield node.attr


def test_private_names_of_dependencies_are_used_in_the_listed_files_only() -> None:
    trees = {path.relative_to(ROOT).as_posix(): nodes(path) for path in SOURCES}
    own = Counter(name for tree in trees.values() for name in defined_here(tree))
    found = {path: {name for name in private_names(tree, own) if re.match(r"_[^_]", name)} - DOCUMENTED for path, tree in trees.items()}
    assert {path: names for path, names in found.items() if names} == PRIVATE


@pytest.mark.parametrize(("name", "file"), UNDOCUMENTED.items(), ids=UNDOCUMENTED)
def test_undocumented_names_of_dependencies_exist_and_are_used_in_one_file(name: str, file: str) -> None:
    assert resolve_name(name)
    word = re.compile(rf"\b{name.rpartition(':')[2].rpartition('.')[2]}\b") if name.startswith("multiprocessing") else None
    assert word is None or [path.relative_to(ROOT).as_posix() for path in SOURCES if word.search(path.read_text("utf-8"))] == [file]


def imported(path: Path) -> Iterator[str]:
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def distribution(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_is_imported_and_every_import_is_a_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    requirements = [*project["dependencies"], *(each for extra in project["optional-dependencies"].values() for each in extra)]
    declared = {distribution(re.split(r"[\[<>=;~! ]", each)[0]) for each in requirements}
    of_module = {module: {distribution(name) for name in names} for module, names in packages_distributions().items()}
    used = {module: of_module[module] for path in SOURCES for module in imported(path) if module in of_module}
    own = {distribution(project["name"])}
    undeclared = {module for module, names in used.items() if not names & (declared | own)}
    assert undeclared == BROUGHT_ALONG.keys()
    assert {distribution(name) for name in BROUGHT_ALONG.values()} <= declared
    assert declared - {name for names in used.values() for name in names} == WITHOUT_IMPORT.keys()


GIVEN = {
    "the service runs its schedules by APScheduler": ("import pipeline.service.service", "apscheduler"),
    "a run's process crawls by Scrapy": ("import pipeline.workers.entry", "scrapy"),
    "a session logs in by requests": ("import pipeline.session.session", "requests"),
}


@pytest.mark.parametrize(("statement", "package"), GIVEN.values(), ids=GIVEN.keys())
def test_the_given_packages_do_their_work_at_run_time(statement: str, package: str) -> None:
    code = f"import sys\n{statement}\nassert {package!r} in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_mail_is_sent_through_a_connection_of_yagmail() -> None:
    with SmtpServer() as server:
        code = f"""
import sys
from pipeline.mail.transports.smtp import SmtpTransport
transport = SmtpTransport("127.0.0.1", {server.port}, security="none")
assert "yagmail" not in sys.modules
transport.connect()
assert "yagmail" in sys.modules
"""
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
        assert server.connections == 1
