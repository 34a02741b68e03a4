"""Files of a session that expires without a sign.

Files for anonymous visitors are neither kept nor counted as refused.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from scrapy.core.engine import ExecutionEngine
from sqlalchemy import select, update

from pipeline.model import DownloadState, Outcome
from pipeline.store.database.schema import downloads
from pipeline.store.runs import runs
from pipeline.store.runs.leases import TTL
from tests.crawl.conftest import Crawls
from tests.crawl.frontier.test_unproved_pages import COOKIES_ALONE, WALLS
from tests.crawl.middlewares.test_login_expiry import Walled, expire_once_at, settings
from tests.crawl.processes.test_leader_and_followers import perform
from tests.servers.pages import Answer, Asked, PageSite

FILES = 12
BODY = b"%PDF-1.4 what members may read " * 100
WAYS = [*WALLS.items(), ("a picture for all", Answer(b"\x89PNG\r\n\x1a\n sorry", headers={"Content-Type": "image/png"}))]


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_PASSWORD", "geheim")


def behind(walled: Walled, name: str) -> Callable[[Asked], Answer]:
    """A file that needs the login."""
    page = walled.behind("")

    def file(asked: Asked) -> Answer:
        answer = page(asked)
        return answer if answer.body or answer.status != 200 else Answer(
            BODY + name.encode(), headers={"Content-Type": "application/pdf", "ETag": f'"{name}"'})
    return file


def site_of_files(site: PageSite, wall: Answer, files: int = FILES) -> Walled:
    walled = Walled(site, 0, wall=wall)
    site.pages["/welcome"] = Answer("<p>welcome, stranger</p>")
    site.pages["/"] = walled.behind("<a href=/logout>out</a><p>start</p>" + "".join(
        f"<a class=d href=/f/{number}.pdf>f</a>" for number in range(files)))
    for number in range(files):
        site.pages[f"/f/{number}.pdf"] = behind(walled, str(number))
    return walled


DOWNLOADS = 'download = ["a.d"]\ndownloads = { workers = 2 }'


def files(crawls: Crawls) -> Mapping[str, bytes]:
    folder: Path = crawls.store.data_dir / "downloads" / "s"
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


WHOLE = {f"{number}.pdf": BODY + str(number).encode() for number in range(FILES)}


def states(crawls: Crawls) -> set[str]:
    with crawls.store.read() as connection:
        return set(connection.execute(select(downloads.c.state)).scalars())


@pytest.mark.parametrize(("where", "wall"), [*(("/f/5.pdf", wall) for wall, _ in WAYS), *(
    (where, wall) for where in ("/f/0.pdf", f"/f/{FILES - 1}.pdf") for wall in ("a page for all with status 200", "a picture for all"))])
def test_files_for_anonymous_visitors_are_fetched_again_after_a_new_login(crawls: Crawls, site: PageSite, wall: str, where: str) -> None:
    """Every wall once; and a page and a picture in place of a file, wherever the session ends."""
    walled = site_of_files(site, dict(WAYS)[wall])
    expire_once_at(walled, where)
    crawls.write(settings(site, DOWNLOADS))
    run = crawls.perform()
    assert (run.outcome, run.complete, run.error) == (Outcome.SUCCEEDED, True, "`follow` matched nothing on 1 page")
    assert (run.progress.downloads, run.progress.downloads_failed, walled.logins) == (FILES, 0, 2)
    assert files(crawls) == WHOLE


@pytest.mark.parametrize("wall", [each[1] for each in WAYS], ids=[each[0] for each in WAYS])
def test_the_files_wait_for_the_next_run_when_the_new_login_fails(crawls: Crawls, site: PageSite, wall: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ExecutionEngine, "_SLOT_HEARTBEAT_INTERVAL", 60.0)  # the next run has only files left, and does not wait for this
    walled = site_of_files(site, wall)
    expire_once_at(walled, "/f/5.pdf")
    walled.closed = True

    def login(asked: Asked) -> Answer:  # the first login succeeds, the next is refused
        walled.closed = walled.logins > 0
        return walled.login(asked)
    site.pages["/login"] = login
    crawls.write(settings(site, DOWNLOADS))
    run = crawls.perform()
    assert (run.outcome, run.complete, "Too many logins" in run.error) == (Outcome.FAILED, False, True), run.error
    assert run.progress.downloads_failed == 0
    assert files(crawls).items() <= WHOLE.items()
    assert DownloadState.FAILED.value not in states(crawls)
    site.pages["/login"] = walled.login
    walled.closed = False
    before = time.monotonic()
    again = crawls.perform()
    assert (again.pass_id, again.outcome) == (run.pass_id, Outcome.SUCCEEDED), again.error
    assert time.monotonic() - before < 50
    assert files(crawls) == WHOLE


def test_the_files_wait_for_the_next_run_when_imported_cookies_expired(crawls: Crawls, site: PageSite) -> None:
    walled = site_of_files(site, WALLS["404, as if there were nothing"])
    walled.valid = "sid=brought"
    (crawls.folder / "cookies.txt").write_text("sid=brought")
    crawls.write(COOKIES_ALONE.format(url=site.url, expired="").replace("robots = false", f"robots = false\n{DOWNLOADS}"))
    expire_once_at(walled, "/f/5.pdf")
    run = crawls.perform()
    assert (run.outcome, run.progress.downloads_failed) == (Outcome.FAILED, 0)
    assert "login.check no longer matches with the imported cookies" in run.error
    assert files(crawls).items() <= WHOLE.items()


def test_a_file_that_is_missing_or_a_page_for_members_too_counts_as_it_is(crawls: Crawls, site: PageSite) -> None:
    walled = site_of_files(site, Answer("<p>log in</p>"))
    site.pages["/f/3.pdf"] = Answer("no such file", 404)
    site.pages["/f/4.pdf"] = walled.behind("<p>a page</p>")
    crawls.write(settings(site, DOWNLOADS))
    run = crawls.perform()
    assert (run.outcome, run.progress.downloads, run.progress.downloads_failed) == (Outcome.SUCCEEDED, FILES - 1, 1)
    assert walled.logins == 1
    assert [asked.path for asked in site.asked].count("/f/3.pdf") == 1
    assert [asked.path for asked in site.asked].count("/in") <= 5  # the check page is fetched a few times only


def test_a_file_whose_link_logs_out_is_named_in_the_error(crawls: Crawls, site: PageSite) -> None:
    walled = site_of_files(site, Answer("<p>log in</p>"))

    def logout(asked: Asked) -> Answer:
        walled.expire()
        return Answer("bye", headers={"Content-Type": "text/plain"})
    site.pages["/f/4.pdf"] = logout
    crawls.write(settings(site, DOWNLOADS))
    run = crawls.perform()
    assert run.outcome is Outcome.FAILED
    assert f"the session ends whenever {site.url}/f/4.pdf is fetched" in run.error
    assert files(crawls).items() <= WHOLE.items()


def test_a_killed_run_leaves_no_file_that_was_not_proved(crawls: Crawls, site: PageSite) -> None:
    """The run is killed while it fetches the check page, after all files came."""
    walled = site_of_files(site, Answer("<p>log in</p>"))
    expire_once_at(walled, "/f/5.pdf")
    crawls.write(settings(site, DOWNLOADS))
    check = site.pages["/in"]
    assert callable(check)
    looking, killed = threading.Event(), threading.Event()

    def slow_check(asked: Asked) -> Answer:
        if walled.logins and not walled.valid and not looking.is_set():
            looking.set()
            killed.wait(60)
        return check(asked)
    site.pages["/in"] = slow_check

    def kill(leader: int) -> None:
        assert looking.wait(60)
        os.kill(leader, signal.SIGKILL)
        killed.set()
    perform(crawls, kill)
    with crawls.store.read() as connection:
        recorded = connection.execute(select(downloads.c.url, downloads.c.file_size).where(downloads.c.state != "waiting")).all()
    assert recorded == []
    with crawls.store.write() as connection:  # so that no lease has to be waited for
        connection.execute(update(downloads).values(lease_until=datetime.now(UTC)))
    runs.abandon_expired(crawls.store, now=datetime.now(UTC) + TTL)
    run = crawls.perform()
    assert (run.outcome, run.progress.downloads) == (Outcome.SUCCEEDED, FILES), run.error
    assert files(crawls) == WHOLE
