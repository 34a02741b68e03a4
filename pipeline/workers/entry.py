"""The main function of a child process.

Set up logging and signals, and perform one run, digest or task on single pages.

The forkserver imports this module, which imports Scrapy, before forking the child. The service itself does not load Scrapy: it
only passes the name of this module to the forkserver. The child leads its own session (setsid), and ends when its pipe to the
parent is closed.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import logging
import os
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import logs
from pipeline.crawl.crawler import PRELOAD
from pipeline.errors import PipelineError, SpiderError, StoreError
from pipeline.model import DigestClaim
from pipeline.run_log import Capture, RunLog
from pipeline.session.browser.process.program import DRIVER_OPTIONS
from pipeline.settings import Settings
from pipeline.settings.masking import CurrentMask
from pipeline.store import Store, open_store_of
from pipeline.workers.crawl_run import CrawlRun, follow, take_part
from pipeline.workers.lease_fence import UNSTORED
from pipeline.workers.process import START_FOLLOWER
from pipeline.workers.signals import STOP_SIGNALS
from pipeline.workers.stop_request import StopRequest

GC_OBJECTS = 25_000
"""After how many new objects Python collects garbage in a crawl. With Python's default of 700, crawls take a fifth longer."""
NICE = 5
"""The nice value of the processes of runs, so that the service responds while runs use all cores.

Processes that render digests have twice this value.
"""

if TYPE_CHECKING:
    from pipeline.archive.housekeeping.housekeeping import HousekeepingOptions

logger = logging.getLogger(__name__)

for _name in PRELOAD:
    importlib.import_module(_name if _name.split(".")[-1].islower() else _name.rpartition(".")[0])


def enter(work: str, settings: Settings, log_file: str, pipe: Connection, *arguments: Any) -> None:
    """Perform the work of a child process.

    pipe: the connection to the parent process. The further arguments depend on `work`. "run": a Run, and the sockets to the
    follower processes. "follow": a Run, and the socket to the leader process. "member": a Run, and a Member of it. "digest": a DigestClaim, the owner of the claim,
    and the argument `less` of _build_digest. "archive": HousekeepingOptions. "page": the name of a spider, a module of
    pipeline.workers.pages, the options of its perform(), and the file for the result. "preview": the name of a digest, and the folder for its mails. "check": the arguments of check_code.
    "text": the file for the result, the name of a module, and the arguments of its perform().
    """
    os.setsid()
    os.environ.setdefault(*DRIVER_OPTIONS)  # here, because no environment may be changed while threads run, and Playwright takes it from this process
    gc.freeze()  # the garbage collector skips objects created before the fork
    gc.enable()
    for number in STOP_SIGNALS:  # a handler and not SIG_IGN, because programs that the child starts would inherit SIG_IGN
        signal.signal(number, _leave_to_parent)
    mask = CurrentMask(settings)
    log = RunLog(Path(log_file), settings.logs.max_size)
    capture = Capture(log, mask)
    logs.configure(log, mask=mask, level=settings.logs.level, parts=settings.logs.parts, base=_log_fields(work, *arguments))
    for name in ("scrapy.addons", "scrapy.middleware", "scrapy.crawler"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        _perform(work, settings, mask, pipe, *arguments)
    except StoreError as error:
        logger.exception("the process could not use the database")
        raise SystemExit(UNSTORED if error.retry else 1) from error
    except Exception as error:
        logger.exception("the process failed before it could report an error")
        raise SystemExit(1) from error
    finally:
        capture.end()


def _leave_to_parent(number: int, frame: object) -> None:
    """Ignore a stop signal, because the parent process handles it.

    The parent process receives the signal too. It asks this child to stop at a checkpoint, and kills the child if it does not
    stop.
    """


def _perform(work: str, settings: Settings, mask: CurrentMask, pipe: Connection, *arguments: Any) -> None:
    stop = StopRequest(pipe)
    stop.poll()
    threading.Thread(target=stop.watch, name="parent", daemon=True).start()
    if work == "check":
        from pipeline.workers.check_code import check_code  # noqa: PLC0415  crawls do not need this module
        _send_result(pipe, partial(check_code, settings, *arguments))
        os._exit(0)  # threads that the user's code has started could otherwise keep this process running
    if work == "text":
        report, module, *given = arguments
        _send_result(pipe, partial(_write_result, module, report, *given))
        return
    store = open_store_of(settings, migrate=False, mask=mask)
    try:
        if work in ("run", "follow", "member"):
            _lower_priority(NICE)
            gc.set_threshold(GC_OBJECTS, 20, 20)  # a crawl creates many objects but few reference cycles
            if work == "run":
                CrawlRun(store, settings, arguments[0], stop, arguments[1:],
                         request_follower=partial(pipe.send, START_FOLLOWER)).perform()
            elif work == "follow":
                follow(store, settings, *arguments)
            else:
                take_part(store, settings, arguments[1], stop)
        elif work == "page":
            name, task, options, report = arguments
            _send_result(pipe, partial(_write_result, f"pipeline.workers.pages.{task}", report, store, settings, name, options))
        elif work == "preview":
            _send_result(pipe, partial(_preview_digest, store, settings, *arguments))
        elif work == "archive":
            _lower_priority(2 * NICE)
            _send_result(pipe, partial(_archive_housekeeping, store, settings, arguments[0], stop))
        else:
            _lower_priority(2 * NICE)
            _send_result(pipe, partial(_build_digest, store, settings, *arguments))
    finally:
        store.close()


def _log_fields(work: str, *arguments: Any) -> dict[str, str | int]:
    """Return the fields that are added to every log line of this child process."""
    if work in ("run", "follow", "member"):
        return {"run": arguments[0].id, "spider": arguments[0].spider}
    if work == "preview":
        return {"digest": arguments[0]}
    if work in ("text", "archive"):
        return {}
    return {"digest": arguments[0].name} if work == "digest" else {"spider": arguments[0]}


def _lower_priority(nice: int) -> None:
    """Give this process a lower CPU priority than the service.

    If the kernel schedules each session as a group (autogroup, sched(7)), the nice value of a process has an effect only within
    its group. Therefore the nice value of the group is set as well.
    """
    os.nice(nice)
    with contextlib.suppress(OSError):  # the kernel does not support autogroups
        Path("/proc/self/autogroup").write_text(str(nice), "ascii")


def _send_result(pipe: Connection, work: Callable[[], list[str] | None]) -> None:
    """Call `work`, then send the parent process the PipelineError that `work` raised; its return value if it raised none."""
    try:
        found = work()
    except PipelineError as error:
        pipe.send(error)
    else:
        pipe.send(found)


def _write_result(module: str, report: str, *arguments: Any) -> None:
    """Call perform() of a module with the arguments, and write its result as JSON to the file `report`."""
    found = importlib.import_module(module).perform(*arguments)
    Path(report).write_text(json.dumps(found, default=str), "utf-8")


def _preview_digest(store: Store, settings: Settings, name: str, folder: str) -> list[str]:
    """Write the mails of the next digest to a folder; return what there is to say about them, see preview()."""
    from pipeline.mail.digests.preview import preview  # noqa: PLC0415  crawls do not need this module
    from pipeline.session.picture_fetcher import PictureFetcher  # noqa: PLC0415  crawls do not need this module
    said: list[str] = []
    try:
        preview(store, settings, name, Path(folder), now=datetime.now(UTC), fetch_pictures=PictureFetcher(store, settings), say=said.append)
    except PipelineError:
        raise
    except Exception as error:
        raise SpiderError(f"{type(error).__name__}: {error}", where=f"digests.{name}", fix="correct the template, or remove the file") from error
    return said


def _archive_housekeeping(store: Store, settings: Settings, options: HousekeepingOptions, stop: StopRequest) -> list[str]:
    """Merge, timestamp and delete files of the archive; return what was done."""
    from pipeline.archive.housekeeping.housekeeping import do_housekeeping  # noqa: PLC0415  crawls do not need this module
    from pipeline.workers.archive_housekeeping import sent  # noqa: PLC0415  crawls do not need this module
    return sent(do_housekeeping(store, settings, options, now=datetime.now(UTC), go_on=lambda: not stop))


def _build_digest(store: Store, settings: Settings, claim: DigestClaim, owner: str, less: tuple[int, str]) -> None:
    """Render a digest into the outbox.

    less: two values: the number of the presentation to use (0 is the richest), and the reason why it is not 0. A simpler
    presentation is used after processes were killed while they rendered a richer one.
    """
    first, problem = less
    from pipeline.mail.digests import build as mail_digest  # noqa: PLC0415  crawls do not need this module
    from pipeline.session.picture_fetcher import PictureFetcher  # noqa: PLC0415  crawls do not need this module
    try:
        mail_digest.build(store, settings, claim, owner=owner, now=datetime.now(UTC), first=first, problem=problem,
                          fetch_pictures=PictureFetcher(store, settings))
    except PipelineError:
        raise
    except Exception as error:
        logger.exception("rendering the digest %s failed", claim.name)
        raise SpiderError(f"{type(error).__name__}: {error}", where=f"digests.{claim.name}",
                          fix="see the digest's log; the digest is rendered again") from error
