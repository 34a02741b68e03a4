"""The checks of `pipeline doctor`: settings, permissions, disk, clock, database, versions, service.

The checks change nothing, except that they create the store if it does not exist yet.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import ssl
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

import pipeline
from pipeline.cli.cluster_checks import check_cluster
from pipeline.cli.connections import try_connections
from pipeline.cli.finding import Finding, State
from pipeline.cli.service_status import ask_status
from pipeline.cli.settings_check import Remark, remarks_on
from pipeline.cli.settings_check.secrets import check_secrets, named_secrets
from pipeline.errors import HeartbeatBusyError, PipelineError, SettingsError
from pipeline.heartbeat.connections.open_files import (
    LEAST_OPEN_FILES,
    OPEN_FILES_FIX,
    open_files_for,
    possible_open_files,
    short_of_files,
)
from pipeline.heartbeat.snapshot.schema import JobsStatus
from pipeline.settings import Settings, load
from pipeline.store import Store, open_store_of
from pipeline.store.health.database_facts import database_facts
from pipeline.store.mail.refused_addresses import refused_addresses
from pipeline.text import clean_line, counted, size_for_people, span_for_people

__all__ = ["Finding", "State", "examine"]

DISTRIBUTION = "crawl-to-inbox"
CLOCK_SLACK = timedelta(seconds=5)
_TIME_ERROR = 5  # the return value of adjtimex(2) if the clock is not synchronized


def examine(settings_file: str, *, now: datetime, connect: bool = True, deep: bool = False) -> Iterator[Finding]:
    """Perform all checks and yield their findings.

    If the settings have problems, the checks that need the settings are left out. connect: whether to test the proxies, the logins and
    the mail server as well. deep: whether to read all files of the archive.
    """
    yield from _versions()
    try:
        settings = load(settings_file)
    except SettingsError as error:
        for line in error.lines():
            yield Finding("settings", State.PROBLEM, line, "correct the settings file; `pipeline schema` prints all allowed keys")
        return
    yield Finding("settings", State.OK, f"{settings.file}: {counted(len(settings.spiders), 'spider')}, "
                  f"{counted(len(settings.digests), 'digest')}")
    for name, look in (("settings", _remarks(settings)), ("secrets", _secrets(settings)), ("permissions", _permissions(settings)), ("disk", _disk(settings)),
                       ("open files", _open_files(settings)), ("browser", _browser(settings)), ("language model", _language_model(settings)), ("clock", _clock()), ("database", _database(settings, now)),
                       ("archive", _archive(settings, deep=deep)), ("service", _service(settings))):
        try:
            yield from look
        except OSError as error:
            yield Finding(name, State.PROBLEM, f"{error.filename or name}: {error.strerror}", "change [pipeline] data_dir")
    if connect:
        for what, failed in try_connections(settings):
            if settings.demo is not None and what == "spiders.demo.login":
                yield Finding(what, State.OK, "not tested, because the demo site runs only while the service or the demo spider runs")
            elif what not in ("database", "heartbeat"):  # these have checks of their own
                yield Finding(what, State.OK, "works") if failed is None else Finding.of(what, failed)


def _versions() -> Iterator[Finding]:
    """Check whether the installed packages meet the requirements of this program.

    A package that only an optional extra requires is checked only if the package is installed.
    """
    try:
        wanted = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or ()]
    except metadata.PackageNotFoundError:
        yield Finding("versions", State.WARNING, "the program is not installed as a package, so its requirements are unknown",
                      f"run `pip install {DISTRIBUTION}`, or `make install` in the folder of the program")
        return
    wrong = 0
    for each in wanted:
        extra = each.marker is not None and not each.marker.evaluate({"extra": ""})
        try:
            found = metadata.version(each.name)
        except metadata.PackageNotFoundError:
            if not extra:
                wrong += 1
                yield Finding("versions", State.PROBLEM, f"{each.name} is not installed", f"run `pip install '{each.name}'`")
            continue
        if not each.specifier.contains(found, prereleases=True):
            wrong += 1
            yield Finding("versions", State.WARNING if extra else State.PROBLEM,
                          f"{each.name} {found} is installed; {each.specifier} is required",
                          f"run `pip install '{each.name}{each.specifier}'`")
    if not wrong:
        python = ".".join(map(str, sys.version_info[:3]))
        yield Finding("versions", State.OK, f"{DISTRIBUTION} {pipeline.__version__}, Python {python}, "
                      f"{ssl.OPENSSL_VERSION}; {len(wanted)} requirements met")


def _secrets(settings: Settings) -> Iterator[Finding]:
    found = list(check_secrets(settings))
    yield from (_finding("secrets", remark) for remark in found)
    if not found:
        yield Finding("secrets", State.OK, f"{counted(len(dict.fromkeys(named_secrets(settings))), 'secret')} can be read")


def _remarks(settings: Settings) -> Iterator[Finding]:
    """Yield what `pipeline check` would report. The disk is left out, because doctor has its own check for it."""
    for remark in remarks_on(settings, with_secrets=False):
        if remark.key != "pipeline.keep_free":
            yield _finding("permissions" if remark.key == "pipeline.data_dir" else "settings", remark)


def _finding(check: str, remark: Remark) -> Finding:
    return Finding(check, State.WARNING if remark.suspicious else State.PROBLEM, f"{remark.key}: {remark.what}", remark.fix)


def _permissions(settings: Settings) -> Iterator[Finding]:
    data_dir = settings.data_dir
    if data_dir.exists() and not data_dir.is_dir():  # _remarks() reports this
        return
    if not data_dir.exists():
        yield Finding("permissions", State.OK, f"{data_dir} does not exist yet; the first start creates it")
        return
    wrong = 0
    for path in (data_dir, *_private_files(data_dir)):
        about = path.stat()
        if about.st_mode & 0o077:
            wrong += 1
            yield Finding("permissions", State.WARNING, f"other users can access {path}", f"run `chmod go= {path}`")
        if about.st_uid != os.getuid():
            wrong += 1
            yield Finding("permissions", State.WARNING, f"{path} is owned by user {about.st_uid}, but this command runs as user "
                          f"{os.getuid()}", "run every command as the user of the service")
    if not wrong:
        yield Finding("permissions", State.OK, f"only the current user can access {data_dir}")


def _private_files(data_dir: Path) -> list[Path]:
    """Return the files in data_dir that other users must not read: cookie jars, the token, the database."""
    names = ("jars/*", "heartbeat-token", "demo-password", "pipeline.sqlite3")
    return sorted(path for name in names for path in data_dir.glob(name) if path.is_file() and not path.is_symlink())


def _disk(settings: Settings) -> Iterator[Finding]:
    folder = next(path for path in (settings.data_dir, *settings.data_dir.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    least = max(settings.pipeline.keep_free, settings.heartbeat.disk_below or 0)
    about = os.statvfs(folder)
    files_left = about.f_favail if about.f_files else None
    if free < least:
        yield Finding("disk", State.PROBLEM, f"only {size_for_people(free)} free; the settings require "
                      f"{size_for_people(least)}", "free some disk space, or decrease pipeline.keep_free and heartbeat.disk_below")
    elif files_left is not None and files_left < 1000:
        yield Finding("disk", State.PROBLEM, f"the file system has only {files_left} free inodes", "delete files that you no longer need")
    else:
        parts = {path.name: _size(path) for path in sorted(settings.data_dir.iterdir()) if path.is_dir()} \
            if settings.data_dir.exists() else {}
        used = ", ".join(f"{name} {size_for_people(size)}" for name, size in parts.items() if size)
        yield Finding("disk", State.OK, f"{size_for_people(free)} free" + (f"; in data_dir: {used}" if used else ""))


def _size(folder: Path) -> int:
    found = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                found += os.lstat(os.path.join(place, name)).st_size
            except FileNotFoundError:
                continue  # the file was deleted after the folder was listed
    return found


def _open_files(settings: Settings) -> Iterator[Finding]:
    connections = settings.heartbeat.max_connections
    wanted = open_files_for(connections)
    possible = possible_open_files(wanted)
    if possible < LEAST_OPEN_FILES:
        yield Finding("open files", State.PROBLEM, f"the limit of open files is {possible}, but the service needs at least {LEAST_OPEN_FILES}",
                      OPEN_FILES_FIX.format(wanted))
    elif short := short_of_files(connections):
        yield Finding("open files", State.WARNING, short, f"{OPEN_FILES_FIX.format(wanted)}; or decrease heartbeat.max_connections")
    else:
        yield Finding("open files", State.OK, f"the limit allows the {wanted} open files that the service needs")


def _browser(settings: Settings) -> Iterator[Finding]:
    """Check the browser, if a spider needs one."""
    if not any(spider.uses_browser for spider in settings.spiders.values()):
        return
    from pipeline.session.browser.process.installed import examine as examine_browser
    from pipeline.session.browser.process.program import BrowserProgram
    try:
        program = BrowserProgram.of(settings.browser, settings.data_dir)
        if program.remote is not None:
            yield Finding("browser", State.OK, "on another machine, not tested")
            return
        found = examine_browser(program)
    except PipelineError as error:
        yield Finding.of("browser", error)
    else:
        yield Finding("browser", State.OK, f"{found.version}, {found.path}{'; without its sandbox, because this command runs as root' if found.runs_as_root else ''}")


def _language_model(settings: Settings) -> Iterator[Finding]:
    """Say which language model is used, and by how many digests. What is wrong with [ai] is among the remarks on the settings."""
    if settings.ai is None:
        return
    from pipeline.ai.open_client import is_installed
    from pipeline.cli.settings_check.language_model import uses_of
    if is_installed():
        users = sum(bool(uses_of(digest)) for digest in settings.digests.values())
        yield Finding("language model", State.OK, f"{clean_line(settings.ai.model)} at {settings.ai.host}, used by {counted(users, 'digest')}; "
                      f"openai {metadata.version('openai')}")


def _clock() -> Iterator[Finding]:
    if _is_synchronised() is False:
        yield Finding("clock", State.WARNING, "the clock of this machine is not synchronised",
                      "run chrony or systemd-timesyncd, because the program relies on a correct clock")
    else:
        yield Finding("clock", State.OK, f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")


def _is_synchronised() -> bool | None:
    """Return whether the system clock is synchronized, according to adjtimex(2); None if this is unknown."""
    try:
        asked = ctypes.create_string_buffer(512)  # a struct timex; if it is all zeros, adjtimex() changes nothing
        state = ctypes.CDLL(None, use_errno=True).adjtimex(asked)
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def _database(settings: Settings, now: datetime) -> Iterator[Finding]:
    try:
        store = open_store_of(settings)
    except PipelineError as error:
        yield Finding.of("database", error)
        return
    try:
        yield from _store(store, now)
        if store.shared:
            yield from check_cluster(store, settings, now)
    except PipelineError as error:
        yield Finding.of("database", error)
    finally:
        store.close()


def _store(store: Store, now: datetime) -> Iterator[Finding]:
    facts = database_facts(store)
    faults = store.check()
    for fault in faults:
        yield Finding("database", State.PROBLEM, f"the database is damaged: {fault}", "restore a backup (`pipeline restore FILE --replace`)")
    if facts.needed:
        yield Finding("database", State.PROBLEM, f"{store.kind} {facts.version} is installed; {facts.needed} is required", f"upgrade {store.kind}")
    if facts.newest is not None and facts.newest > now + CLOCK_SLACK:
        yield Finding("clock", State.PROBLEM, f"the newest time in the database is {facts.newest:%Y-%m-%d %H:%M:%S} UTC, which is "
                      "in the future", "correct the clock of this machine, or of the machine that wrote this time to the database")
    total, refused = refused_addresses(store, limit=5)
    if total:
        yield Finding("outbox", State.WARNING, f"the mail server refused {counted(total, 'address')} for good: "
                      f"{', '.join(each.address for each in refused)}{', …' if total > len(refused) else ''}",
                      "see `pipeline outbox`, correct or remove the address, and mark it as seen with `pipeline outbox seen --all`")
    if not faults:
        yield Finding("database", State.OK, f"{store.kind} {facts.version}, {size_for_people(facts.size_bytes)}, no damage found")


def _archive(settings: Settings, *, deep: bool) -> Iterator[Finding]:
    """Check the files of the archive, if there are any."""
    from pipeline.archive.housekeeping.examine import examine as examine_archive
    try:
        store = open_store_of(settings, migrate=False)
    except PipelineError:  # the check of the database reports this
        return
    try:
        for found in examine_archive(store, settings, deep=deep):
            yield Finding("archive", State.PROBLEM if found.is_problem else State.OK, found.text,
                          "restore the files from a backup" if found.is_problem else "")
    except PipelineError as error:
        yield Finding.of("archive", error)
    finally:
        store.close()


def _service(settings: Settings) -> Iterator[Finding]:
    try:
        found = ask_status(settings)
    except HeartbeatBusyError as error:
        yield Finding("service", State.WARNING, error.what, error.fix)
        return
    except PipelineError:
        yield Finding("service", State.WARNING, "the service does not answer", "if the service should be running, start `pipeline serve`")
        return
    if found["version"] != pipeline.__version__:
        yield Finding("service", State.WARNING, f"version {found['version']} is running, but {pipeline.__version__} is "
                      "installed", "restart the service")
    if "jobs" in found:  # the snapshot of an older service contains no jobs
        yield Finding("jobs", State.OK, _jobs_line(found["jobs"]))
    health = str(found["health"])
    for reason in found["reasons"]:
        if str(reason).startswith("nodes: "):
            continue  # check_cluster() reports this
        yield Finding("service", State.PROBLEM if health == "failing" else State.WARNING, str(reason), "see `pipeline status`")
    if health == "ok":
        yield Finding("service", State.OK, "the service is running, and its health is ok")


def _jobs_line(jobs: JobsStatus) -> str:
    """Return a line about the scheduler's jobs, which says how many started late or did not start."""
    upcoming = f" (next at {jobs['next_schedule_at']})" if jobs["next_schedule_at"] else ""
    parts = [f"{counted(jobs['schedules'], 'schedule')}{upcoming}",
             *(f"{job['name']} every {span_for_people(job['every_s'])}" for job in jobs["intervals"])]
    if jobs["late"]:
        parts.append(f"{counted(jobs['late'], 'job')} started late, by up to {jobs['longest_late_s']:g} s")
    if jobs["skipped"]:
        parts.append(f"{counted(jobs['skipped'], 'job')} did not start, because the previous start was still running")
    return "; ".join(parts)
