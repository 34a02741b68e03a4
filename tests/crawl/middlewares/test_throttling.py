"""Pauses and limits of hosts in a crawl: Retry-After, AutoThrottle, concurrency.

Pages and files share the concurrency.
"""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.model import Outcome
from pipeline.session.politeness.host_limits import HostBudget
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, Asked, PageSite

ITEM = '\n[spiders.s.items.fields]\nx = "p"'


class Timed:
    """Answers, and notes the time of each request."""

    def __init__(self, *answers: Answer) -> None:
        self.at: list[float] = []
        self._answers = list(answers)

    def __call__(self, asked: Asked) -> Answer:
        self.at.append(time.monotonic())
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    @property
    def gaps(self) -> list[float]:
        return [later - earlier for earlier, later in pairwise(self.at)]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_no_request_is_sent_to_a_host_before_its_retry_after_is_over(crawls: Crawls, site: PageSite, status: int,
                                                                     form: str) -> None:
    refusing = {"at": 0.0}

    def busy(asked: Asked) -> Answer:
        if not refusing["at"]:
            refusing["at"] = time.monotonic()
            date = datetime.now(UTC).replace(microsecond=0)
            said = "1" if form == "seconds" else format_datetime(date + timedelta(seconds=1), usegmt=True)
            return Answer("busy", status, headers={"Retry-After": said, "Date": format_datetime(date, usegmt=True)})
        return Answer("<p>busy no more</p>")
    other = Timed(Answer("<p>other</p>"))
    site.pages = {"/": "<a href=/busy>b</a>", "/busy": busy}
    site.pages |= {f"/{number}": other for number in range(5)}

    def first(asked: Asked) -> Answer:
        return Answer("<a href=/busy>b</a>" + "".join(f"<a href=/{number}>n</a>" for number in range(5)))
    site.pages["/"] = first
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nfollow = ["a"]\nrobots = false\nconcurrency = 1\nretries = 1{ITEM}')
    run = crawls.run()
    assert (run.outcome, run.complete) == (Outcome.SUCCEEDED, True)
    assert len(other.at) == 5
    waited = [at - refusing["at"] for at in other.at]
    assert all(each >= 0.9 for each in waited), waited  # the pause is for the whole host, not for that page alone


def test_a_retry_after_for_a_file_also_pauses_the_pages_of_its_host(crawls: Crawls, site: PageSite) -> None:
    pages = Timed(Answer(""))

    def page(asked: Asked) -> Answer:
        pages(asked)
        over = len(pages.at) > 200 or (len(pages.at) > 1 and pages.gaps[-1] > 1.5)
        file = "" if len(pages.at) > 1 else "<a class=file href=/file.bin>f</a>"
        return Answer(f"<p>{len(pages.at)}</p>{file}" + ("" if over else f"<a class=next href=/{len(pages.at)}>n</a>"))
    site.pages = {"/file.bin": Timed(Answer("later", 429, headers={"Retry-After": "2"}), Answer("file"))}
    site.pages |= {f"/{number or ''}": page for number in range(201)}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nfollow = ["a.next"]\ndownload = ["a.file"]\nrobots = false{ITEM}')
    run = crawls.perform()
    assert (run.outcome, run.progress.downloads) == (Outcome.SUCCEEDED, 1)
    assert max(pages.gaps) > 1.5, len(pages.at)


def test_a_pause_holds_for_files_and_does_not_delay_the_end_of_the_run(tmp_path: Path) -> None:
    budget = HostBudget(tmp_path)
    budget.leave_alone("http://shop.test/a", 3600)
    assert 3500 < budget.left_alone_s("http://shop.test:80/b") <= 3600
    assert budget.left_alone_s("http://other.test/") == 0.0
    waiting = threading.Thread(target=budget.wait, args=("http://shop.test/file",))
    waiting.start()
    budget.close()
    waiting.join(10)
    assert not waiting.is_alive()


def test_a_pause_longer_than_patience_fails_the_page_for_this_run(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": Answer("later", 503, headers={"Retry-After": "86400"})}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nrobots = false{ITEM}')
    began = time.monotonic()
    run = crawls.run()
    assert (run.outcome, site.paths()) == (Outcome.FAILED, ["/"])
    assert time.monotonic() - began < 30


def test_without_retry_after_each_pause_is_twice_as_long_as_the_last(crawls: Crawls, site: PageSite) -> None:
    page = Timed(Answer("no", 429), Answer("<p>yes</p>"))
    site.pages = {"/": page}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nrobots = false{ITEM}')
    assert crawls.run().outcome is Outcome.SUCCEEDED
    assert page.gaps[0] >= 0.95


def test_a_pause_of_one_host_does_not_delay_another_host(crawls: Crawls, site: PageSite) -> None:
    late = Timed(Answer("x", 503, headers={"Retry-After": "2"}), Answer("<p>late</p>"))
    with PageSite({"/": late}) as busy:
        quick = Timed(Answer("<p>quick</p>"))
        site.pages = dict.fromkeys([f"/{number}" for number in range(20)], quick)
        starts = json.dumps([f"{busy.url}/", *(f"{site.url}/{number}" for number in range(20))])
        crawls.write(f"[spiders.s]\nstart = {starts}\nrobots = false\nconcurrency = 2{ITEM}")
        run = crawls.run()
        assert (run.outcome, run.progress.pages) == (Outcome.SUCCEEDED, 21)
        assert max(quick.at) < late.at[1]


def test_autothrottle_can_be_turned_on(crawls: Crawls, site: PageSite) -> None:
    page = Timed(Answer("<p>x</p>"))
    site.pages = {"/": page, "/1": page}
    crawls.write(f'[spiders.s]\nstart = ["{site.url}/", "{site.url}/1"]\nthrottle = true\nrobots = false{ITEM}')
    began = time.monotonic()
    assert crawls.run().outcome is Outcome.SUCCEEDED
    assert page.at[1] >= began + 0.9  # AutoThrottle begins with one request a second


def test_runs_and_their_files_together_keep_to_the_concurrency_of_a_host(crawls: Crawls, tmp_path: Path) -> None:
    lock, inside, most = threading.Lock(), 0, 0

    def busy(asked: Asked) -> Answer:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.02)  # the site's own work
        with lock:
            inside -= 1
        links = "".join(f"<a href=/{n}>n</a><a class=d href=/f{n}>f</a>" for n in range(12)) if asked.path == "/" else ""
        return Answer(f"<p>x</p>{links}")
    with PageSite(dict.fromkeys(["/", *(f"/{n}" for n in range(12)), *(f"/f{n}" for n in range(12))], busy)) as site:
        crawls.write("".join(f"""
            [spiders.{name}]
            start = "{site.url}/"
            follow = ["a:not(.d)"]
            download = ["a.d"]
            robots = false
            concurrency = 2
            items.fields.x = "p"
            """ for name in ("one", "two")))
        with ThreadPoolExecutor(2) as together:
            ended = list(together.map(crawls.perform, ["one", "two"]))
    assert [run.outcome for run in ended] == [Outcome.SUCCEEDED] * 2, [run.error for run in ended]
    assert len(site.asked) == 2 * 25
    assert most <= 2
