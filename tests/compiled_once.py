"""Compile each template and each SQL statement once in a process of tests.

They are not compiled again for each store and each renderer.

Tests open thousands of stores and renderers, where a service opens one: a quarter of the CPU time of the tests of mails and crawls
would be spent on compiling the same texts. The compiled forms are those that Jinja2 and SQLAlchemy make and run themselves. Compiled
templates are kept in files, as Python's bytecode is, for the hundreds of services and digests that start with none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import threading
from pathlib import Path
from typing import Any

import jinja2
from jinja2.bccache import Bucket, BytecodeCache
from sqlalchemy import Connection, Engine, event
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from pipeline.store.database import migrate

FOLDER = Path(sys.prefix, "jinja-compile-cache")
PROGRAM = str(Path(__file__).parents[1] / "pipeline") + os.sep


class _Templates(BytecodeCache):
    """Compiled templates, by all that the compiler depends on, in memory and in files."""

    def __init__(self) -> None:
        self._code: dict[tuple[object, ...], Any] = {}
        self._is_kept = threading.local()
        FOLDER.mkdir(exist_ok=True)

    def get_bucket(self, environment: jinja2.Environment, name: str, filename: str | None, source: str) -> Bucket:
        self._is_kept.own = filename is not None and filename.startswith(PROGRAM)  # the templates of a test are used once
        return super().get_bucket(environment, name, filename, source)

    def load_bytecode(self, bucket: Bucket) -> None:
        key = self._key(bucket)
        bucket.code = self._code.get(key)
        bucket.is_kept = self._is_kept.own  # type: ignore[attr-defined]
        if bucket.code is None and self._is_kept.own:
            with contextlib.suppress(OSError), self._file(key).open("rb") as file:
                bucket.load_bytecode(file)  # compares the versions of Python and Jinja2, and the source
                self._code[key] = bucket.code

    def dump_bytecode(self, bucket: Bucket) -> None:
        key = self._key(bucket)
        self._code[key] = bucket.code
        if not bucket.is_kept:  # type: ignore[attr-defined]
            return
        target = self._file(key)
        fresh = target.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        with contextlib.suppress(OSError), fresh.open("wb") as file:  # such as a test's limit on open files, or on the size of files
            bucket.write_bytecode(file)
            fresh.replace(target)

    @staticmethod
    def _file(key: tuple[object, ...]) -> Path:
        return FOLDER / hashlib.sha256(repr(key).encode()).hexdigest()

    @staticmethod
    def _key(bucket: Bucket) -> tuple[object, ...]:
        environment = bucket.environment
        return (bucket.key, bucket.checksum, type(environment), environment.autoescape if isinstance(environment.autoescape, bool) else "",
                environment.trim_blocks, environment.lstrip_blocks, tuple(sorted(environment.filters)), tuple(sorted(environment.tests)))


def compile_once() -> None:
    """Change Jinja2 and SQLAlchemy in this process."""
    _share_templates()
    _share_statements()
    _share_tables()


def _share_templates() -> None:
    shared, initialize = _Templates(), jinja2.Environment.__init__

    def initialize_with_cache(self: jinja2.Environment, *arguments: Any, **options: Any) -> None:
        initialize(self, *arguments, **options)
        self.bytecode_cache = self.bytecode_cache or shared

    jinja2.Environment.__init__ = initialize_with_cache  # type: ignore[method-assign]


def _share_statements() -> None:
    """Compiled statements are kept by dialect: two SQLite databases count as one dialect, and share what is kept."""
    compiled: dict[Any, Any] = {}
    SQLiteDialect_pysqlite.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign]
    SQLiteDialect_pysqlite.__eq__ = lambda self, other: type(self) is type(other)  # type: ignore[method-assign]

    @event.listens_for(Engine, "engine_connect")
    def share(connection: Connection) -> None:
        if connection.dialect.name == "sqlite":
            connection.execution_options(compiled_cache=compiled)


def _share_tables() -> None:
    """The statements that create the tables of a new database are taken down once, and then executed as they are."""
    taken: dict[str, list[str]] = {}
    metadata = migrate.metadata
    create_all = metadata.create_all

    def create(connection: Connection, **options: Any) -> None:
        name = connection.dialect.name
        if name in taken:
            for statement in taken[name]:
                connection.exec_driver_sql(statement)
            return
        statements: list[str] = []

        def take(_connection: Connection, _cursor: object, statement: str, *_: object) -> None:
            statements.append(statement)

        event.listen(connection, "before_cursor_execute", take)
        create_all(connection, **options)
        event.remove(connection, "before_cursor_execute", take)
        taken[name] = statements

    metadata.create_all = create  # type: ignore[method-assign, assignment]
