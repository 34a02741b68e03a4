"""Connect the download pool with a run: its session, host limits, progress and outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from pipeline.crawl.verdict import refusals_note
from pipeline.download.limits import DownloadLimits
from pipeline.download.pool import DownloadPool
from pipeline.download.response.request import TryLaterError, refused_status
from pipeline.download.storage.paths import FolderLayout
from pipeline.download.worker import SiteAccess
from pipeline.hosts import place_of
from pipeline.model import Outcome, Progress, Run, Transfer
from pipeline.session import Session, translate
from pipeline.session.politeness.host_limits import HostBudget
from pipeline.session.politeness.robots import FORBIDDEN, Robots
from pipeline.settings import Settings
from pipeline.store import Store
from pipeline.store.files import download_queue
from pipeline.store.runs.runs import Ending, work_left
from pipeline.text import counted, shown_url


class RunDownloads:
    """The download pool of a run.

    robots: the robots.txt rules that downloads obey; None means that the spider ignores robots.txt.
    """

    def __init__(self, store: Store, settings: Settings, run: Run, session: Session, *, budget: HostBudget,
                 robots: Robots | None) -> None:
        self._store = store
        self._settings = settings
        self._run = run
        spider = settings.spiders[run.spider]
        table = spider.downloads

        def before(url: str) -> None:
            if robots is not None:
                robots.check(url)
            if (left_s := budget.left_alone_s(url)) > spider.patience:
                raise TryLaterError(f"requests to the host are paused for {left_s:.0f} s (Retry-After)", where=shown_url(url),
                                    fix="wait for the next run, or increase the `patience` setting",
                                    after_s=left_s)
            budget.wait(url)

        site = SiteAccess(partial(session.client, before=before), translate, admit=budget.permit_for_file,
                          leave_alone=budget.leave_alone, login_state=session.login_state, checkable=lambda: session.checkable)
        limits = DownloadLimits(
            workers=table.workers, per_host=table.per_host, max_bytes=table.max_size, max_run_bytes=table.max_total,
            rate_bytes_s=table.rate, keep_free_bytes=settings.pipeline.keep_free, stall_s=table.timeout, attempts=table.attempts)
        self.pool = DownloadPool(store, run, site, limits,
                                 layout=FolderLayout(table.path, settings.zone, table.link_duplicates))

    def add_figures_to(self, progress: Progress) -> None:
        """Set the numbers of downloads in `progress`, including those of earlier processes of the run."""
        files, before = self.pool.figures(), self._run.progress
        progress.downloads = before.downloads + files.done - files.unchanged
        progress.downloads_unchanged = before.downloads_unchanged + files.unchanged
        progress.downloads_failed = before.downloads_failed + files.failed
        progress.download_bytes = before.download_bytes + files.bytes

    def active(self) -> Sequence[Transfer]:
        return self.pool.figures().active

    def final_ending(self, ending: Ending, *, stopped: bool) -> Ending:
        """Return the ending of the run, given the ending of its crawl (`ending`).

        If the crawl succeeded but the disk is full, the run has failed. If the crawl succeeded but some files are still to be
        fetched, the run counts as stopped if `stopped` is True, and as failed otherwise; the next run of the pass will fetch the
        remaining files.
        """
        if ending.outcome is not Outcome.SUCCEEDED:
            return ending
        if (fatal := self.pool.fatal) is not None:
            return Ending(Outcome.FAILED, str(fatal), type(fatal).__name__, keep_open=True, retry=fatal.retry)
        if files_left := work_left(self._store, self._run.pass_id)[1]:
            return Ending(Outcome.STOPPED if stopped else Outcome.FAILED, f"{counted(files_left, 'file')} left to fetch",
                          "DownloadError", keep_open=True, retry=True)
        notes = [note for note in (ending.error, self._failures_note(), self._set_aside_note()) if note]
        return replace(ending, error="; ".join(notes))

    def _set_aside_note(self) -> str:
        """Return a note about the files that are skipped because they have failed in several passes; "" if no file is skipped."""
        aside = download_queue.set_aside(self._store, self._run.pass_id)
        if not aside.count or aside.until is None:
            return ""
        return (f"{counted(aside.count, 'file')} skipped after failing in {download_queue.SET_ASIDE_AFTER} passes, until "
                f"{aside.until.astimezone(self._settings.zone):%Y-%m-%d %H:%M}; the first: {aside.first}")

    def _failures_note(self) -> str:
        """Return a note about the files that failed in this run; "" if no file failed.

        The note says how many files were refused by their sites (status 401 or 403), how many are forbidden by robots.txt, and
        how many failed for other reasons.
        """
        refused: Counter[tuple[int, str]] = Counter()
        forbidden = 0
        others = []
        for url, error in download_queue.failed(self._store, self._run.pass_id):
            if status := refused_status(error):
                refused[status, place_of(url)] += 1
            elif FORBIDDEN in error:
                forbidden += 1
            else:
                others.append(error)
        return "; ".join(filter(None, (refusals_note(refused, "file"),
                                       f"{counted(forbidden, 'file')} forbidden by robots.txt" if forbidden else "",
                                       f"{counted(len(others), 'file')} failed; the first: {others[0]}" if others else "")))
