"""What a site asks of its visitors is done: pauses, delays, one budget for all runs, 304s, quiet hours."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import random
import sqlite3
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from pipeline.crawl.middlewares.page_cache import Kept, PageCache
from pipeline.heartbeat.snapshot.build import build_snapshot
from pipeline.heartbeat.snapshot.spider_status import DueTimes
from pipeline.model import Outcome
from pipeline.schedule.upcoming import upcoming
from pipeline.session.politeness.host_limits import HostBudget
from pipeline.settings import load, quiet_between, quiet_in_s, quiet_until
from pipeline.store import open_store
from pipeline.store.health.recent_rows import downloads_of
from pipeline.store.runs import host_pauses, runs
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, Asked, PageSite

ITEM = '\n[spiders.s.items.fields]\nx = "p"'
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Timed:
    """Notes when a page was asked for."""

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
def test_a_host_that_says_when_to_come_back_is_left_alone_until_then(crawls: Crawls, site: PageSite, status: int,
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
    assert all(each >= 0.9 for each in waited), waited  # the whole host, not that page alone


def test_a_file_that_is_refused_for_now_pauses_the_pages_of_its_host(crawls: Crawls, site: PageSite) -> None:
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


def test_what_a_host_asked_for_holds_for_files_and_does_not_hold_up_the_end(tmp_path: Path) -> None:
    budget = HostBudget(tmp_path)
    budget.leave_alone("http://shop.test/a", 3600)
    assert 3500 < budget.left_alone_s("http://shop.test:80/b") <= 3600
    assert budget.left_alone_s("http://other.test/") == 0.0
    waiting = threading.Thread(target=budget.wait, args=("http://shop.test/file",))
    waiting.start()
    budget.close()
    waiting.join(10)
    assert not waiting.is_alive()


def test_a_pause_longer_than_our_patience_fails_the_page_for_this_run(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": Answer("later", 503, headers={"Retry-After": "86400"})}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nrobots = false{ITEM}')
    began = time.monotonic()
    run = crawls.run()
    assert (run.outcome, site.paths()) == (Outcome.FAILED, ["/"])
    assert time.monotonic() - began < 30


def test_without_retry_after_the_pause_doubles(crawls: Crawls, site: PageSite) -> None:
    page = Timed(Answer("no", 429), Answer("<p>yes</p>"))
    site.pages = {"/": page}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nrobots = false{ITEM}')
    assert crawls.run().outcome is Outcome.SUCCEEDED
    assert page.gaps[0] >= 0.95


def test_a_pause_of_one_host_holds_up_no_other(crawls: Crawls, site: PageSite) -> None:
    late = Timed(Answer("x", 503, headers={"Retry-After": "2"}), Answer("<p>late</p>"))
    with PageSite({"/": late}) as busy:
        quick = Timed(Answer("<p>quick</p>"))
        site.pages = dict.fromkeys([f"/{number}" for number in range(20)], quick)
        starts = json.dumps([f"{busy.url}/", *(f"{site.url}/{number}" for number in range(20))])
        crawls.write(f"[spiders.s]\nstart = {starts}\nrobots = false\nconcurrency = 2{ITEM}")
        run = crawls.run()
        assert (run.outcome, run.progress.pages) == (Outcome.SUCCEEDED, 21)
        assert max(quick.at) < late.at[1]


def test_crawl_delay_is_applied(crawls: Crawls, site: PageSite) -> None:
    page = Timed(Answer("<p>x</p>"))
    site.pages = {"/robots.txt": Answer("User-agent: *\nCrawl-delay: 0.3\n", headers={"Content-Type": "text/plain"}),
                  "/": page, "/1": page, "/2": page}
    crawls.write(f'[spiders.s]\nstart = ["{site.url}/", "{site.url}/1", "{site.url}/2"]{ITEM}')
    began = time.monotonic()
    assert crawls.run().outcome is Outcome.SUCCEEDED
    assert [at >= began + number * 0.3 for number, at in enumerate(page.at)] == [True] * 3


def test_autothrottle_is_a_setting(crawls: Crawls, site: PageSite) -> None:
    page = Timed(Answer("<p>x</p>"))
    site.pages = {"/": page, "/1": page}
    crawls.write(f'[spiders.s]\nstart = ["{site.url}/", "{site.url}/1"]\nthrottle = true\nrobots = false{ITEM}')
    began = time.monotonic()
    assert crawls.run().outcome is Outcome.SUCCEEDED
    assert page.at[1] >= began + 0.9  # it starts carefully


VISITORS = """
import asyncio, os, sys, time
from pathlib import Path
from pipeline.schedule.upcoming import upcoming
from pipeline.session.politeness.host_limits import HostBudget

async def visit(budget):
    for _ in range(4):
        async with budget.turn("http://a.example/"):
            os.write(1, f"{time.monotonic()}\\n".encode())

parent = os.getpid()
os.write(1, f"{time.monotonic()}\\n".encode())
for _ in range(3):
    if os.getpid() == parent and os.fork() == 0:
        asyncio.run(visit(HostBudget(Path(sys.argv[1]), delay_s=0.1)))
if os.getpid() == parent:
    assert [os.wait()[1] for _ in range(3)] == [0] * 3
"""


def test_runs_in_several_processes_share_one_delay(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", VISITORS, str(tmp_path)], capture_output=True, text=True, timeout=60,
                          check=True)
    began, *times = sorted(map(float, done.stdout.split()))
    assert len(times) == 12
    assert all(at >= began + number * 0.1 - 0.001 for number, at in enumerate(times))


def test_runs_share_the_places_at_a_host_and_give_them_back(tmp_path: Path) -> None:
    async def work() -> int:
        budgets = [HostBudget(tmp_path, concurrency=2) for _ in range(3)]
        inside = most = 0

        async def visit(budget: HostBudget) -> None:
            nonlocal inside, most
            async with budget.turn("http://a.example/"):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.01)
                inside -= 1
        await asyncio.gather(*(visit(budget) for budget in budgets * 4))
        async with asyncio.timeout(1), budgets[0].turn("http://a.example/"), budgets[1].turn("http://b.example/"):
            return most
    assert asyncio.run(work()) == 2


def test_files_take_places_of_the_same_budget_and_leave_one_to_pages(tmp_path: Path) -> None:
    first, second = HostBudget(tmp_path, concurrency=3), HostBudget(tmp_path, concurrency=3)
    url, never, at_once = "http://a.example/f", threading.Event(), threading.Event()
    at_once.set()

    async def visit(budget: HostBudget) -> None:
        async with asyncio.timeout(0.2), budget.turn(url):
            pass
    with first.place_for_file(url, never), second.place_for_file(url, never):
        asyncio.run(visit(first))
        with ExitStack() as pages:
            holding = asyncio.new_event_loop()
            pages.callback(holding.close)
            page = first.turn(url)
            holding.run_until_complete(page.__aenter__())
            with pytest.raises(TimeoutError):
                asyncio.run(visit(second))
            with second.place_for_file(url, at_once):  # a stop does not wait for a place
                pass
            holding.run_until_complete(page.__aexit__(None, None, None))
        asyncio.run(visit(second))


def test_runs_and_their_files_never_ask_a_host_more_at_a_time_than_it_is_told(crawls: Crawls, tmp_path: Path) -> None:
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


def test_a_turn_from_before_a_reboot_holds_nobody_up(tmp_path: Path) -> None:
    budget = HostBudget(tmp_path, delay_s=0.05)
    budget.wait("http://a.example/")
    (path,) = tmp_path.glob("*.turn")
    path.write_text("another-boot 99999999999")
    began = time.monotonic()
    budget.wait("http://a.example/")
    assert time.monotonic() - began < 1
    path.write_text("nonsense")
    budget.wait("http://a.example/")


def test_an_unchanged_page_costs_a_304_and_nothing_of_it_is_gone(crawls: Crawls, site: PageSite) -> None:
    def list_page(asked: Asked) -> Answer:
        if asked.headers.get("If-None-Match") == '"v1"':
            return Answer(status=304, headers={"ETag": '"v1"'})
        return Answer("<p>list</p><a href=/1>1</a><a class=d href=/f.pdf>f</a>", headers={"ETag": '"v1"'})
    modified = "Sun, 01 Mar 2026 10:00:00 GMT"
    body = {"/1": "<p>one</p>"}

    def dated(asked: Asked) -> Answer:
        if asked.headers.get("If-Modified-Since") == modified and body["/1"] == "<p>one</p>":
            return Answer(status=304)
        return Answer(body["/1"], headers={"Last-Modified": modified})
    site.pages = {"/": list_page, "/1": dated}
    rules = f'[spiders.s]\nstart = "{site.url}/"\nfollow = ["a:not(.d)"]\ndownload = ["a.d"]\nrobots = false{ITEM}'
    crawls.write(rules)
    crawls.run()
    again = crawls.run()
    assert (again.complete, again.progress.unchanged, again.progress.gone, again.progress.pages) == (True, 2, 0, 2)
    assert "If-None-Match" in site.asked[2].headers
    assert {item["x"] for item in crawls.items().values()} == {"list", "one"}
    body["/1"] = "<p>two</p>"
    third = crawls.run()
    assert {change.kind for change in crawls.changes(third)} == {"new", "gone"}
    crawls.write(rules.replace('x = "p"', 'x = "a"'))  # other rules hold for pages that have not changed, too
    crawls.run()
    assert {item["x"] for item in crawls.items().values() if item["x"]} == {"1"}
    (cached,) = (crawls.folder / "data/cache").iterdir()
    assert cached.stat().st_mode & 0o777 == 0o600


def test_pages_are_fetched_whole_when_told_so_or_when_the_kept_one_is_damaged(crawls: Crawls, site: PageSite) -> None:
    def page(asked: Asked) -> Answer:
        return Answer(status=304) if "If-None-Match" in asked.headers else Answer("<p>x</p>", headers={"ETag": '"1"'})
    site.pages = {"/": page}
    rules = f'[spiders.s]\nstart = "{site.url}/"\nrobots = false{ITEM}'
    crawls.write(rules)
    crawls.run()
    kept = crawls.folder / "data/cache/s.sqlite3"
    with closing(sqlite3.connect(kept)) as database, database:
        database.execute("UPDATE pages SET body = x'00'")  # found out when the site says it has not changed
    assert crawls.run().progress.unchanged == 1
    assert ["If-None-Match" in asked.headers for asked in site.asked] == [False, True, False]
    kept.write_bytes(b"\0damaged" * 1000)
    del site.asked[:]
    assert crawls.run().progress.unchanged == 1
    crawls.write(rules.replace("robots", "revalidate = false\nrobots"))
    assert crawls.run().outcome is Outcome.SUCCEEDED
    assert not any("If-None-Match" in asked.headers for asked in site.asked)


def test_pages_that_vary_or_must_not_be_stored_are_not_kept(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/a": Answer("<p>x</p>", headers={"ETag": '"1"', "Vary": "*"}),
                  "/b": Answer("<p>x</p>", headers={"ETag": '"1"', "Cache-Control": "no-store"}),
                  "/c": Answer("<p>x</p>", headers={"ETag": '"1"', "Vary": "Cookie"})}
    crawls.write(f'[spiders.s]\nstart = ["{site.url}/a", "{site.url}/b", '
                 f'{{ url = "{site.url}/c", cookies = {{ who = "a" }} }}]\nrobots = false{ITEM}')
    crawls.run()
    crawls.write(f'[spiders.s]\nstart = ["{site.url}/a", "{site.url}/b", '
                 f'{{ url = "{site.url}/c", cookies = {{ who = "b" }} }}]\nrobots = false{ITEM}')
    crawls.run()
    assert not any("If-None-Match" in asked.headers for asked in site.asked)


def test_kept_pages_are_bounded_in_size_and_age(tmp_path: Path) -> None:
    cache = PageCache(tmp_path / "cache.sqlite3", 5000)
    for number in range(10):
        cache.put(f"http://a.example/{number}", Kept([("ETag", '"1"')], "", random.Random(number).randbytes(1000)))
    now = time.time()
    cache.prune(1e6, now)
    assert 3 <= sum(cache.get(f"http://a.example/{number}") is not None for number in range(10)) <= 5
    cache.prune(10, now + 100)
    assert not any(cache.get(f"http://a.example/{number}") for number in range(10))
    cache.close()


def test_kept_pages_are_compressed_and_come_back_as_they_were(tmp_path: Path) -> None:
    bodies = {"text": b"<p>some words</p>" * 10_000, "packed": gzip.compress(random.Random(1).randbytes(10_000)), "": b"", "short": b"x"}
    cache = PageCache(tmp_path / "cache.sqlite3", 10**6)
    for name, body in bodies.items():
        cache.put(name, Kept([], "", body))
    cache.flush()
    assert {name: cache.get(name) for name in bodies} == {name: Kept([], "", body) for name, body in bodies.items()}
    cache.close()
    assert (tmp_path / "cache.sqlite3").stat().st_size < 50_000


def test_pages_kept_by_an_earlier_version_are_read_as_they_are(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "cache.sqlite3")) as database, database:
        database.execute("CREATE TABLE pages (url TEXT PRIMARY KEY, head TEXT NOT NULL, crc INTEGER NOT NULL, used_at REAL NOT NULL, "
                         "body BLOB NOT NULL)")
        database.execute("INSERT INTO pages VALUES ('u', '[[], \"\"]', ?, 0, ?)", [zlib.crc32(b"<p>x</p>"), b"<p>x</p>"])
    cache = PageCache(tmp_path / "cache.sqlite3", 10**6)
    assert cache.get("u") == Kept([], "", b"<p>x</p>")
    cache.close()


def test_what_does_not_fit_into_the_page_cache_is_fetched_whole_and_said(
        crawls: Crawls, site: PageSite, caplog: pytest.LogCaptureFixture) -> None:
    def page(asked: Asked) -> Answer:
        if "If-None-Match" in asked.headers:
            return Answer(status=304)
        noise = base64.b64encode(random.Random(asked.path).randbytes(100_000)).decode()
        return Answer(f"<p>x</p><!-- {noise} -->", headers={"ETag": '"1"'})
    site.pages = {f"/{number}": page for number in range(40)}
    starts = [f"{site.url}/{number}" for number in range(40)]
    crawls.write(f'[spiders.s]\nstart = {starts}\nrobots = false\npage_cache = "1MB"{ITEM}')
    first = crawls.run()
    size = (crawls.folder / "data/cache/s.sqlite3").stat().st_size
    again = crawls.run()
    assert size < 1_200_000
    assert (first.progress.pages, again.progress.pages, again.progress.unchanged) == (40, 40, 1)
    assert 5 <= sum("If-None-Match" in asked.headers for asked in site.asked) < 40
    assert "raise page_cache" in caplog.text


def test_without_a_place_for_kept_pages_the_crawl_goes_on(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": Answer("<p>x</p>", headers={"ETag": '"1"'})}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nrobots = false{ITEM}')
    (crawls.folder / "data").mkdir(exist_ok=True)
    (crawls.folder / "data" / "cache").write_text("a file where the folder should be")
    assert crawls.run().outcome is Outcome.SUCCEEDED


def test_quiet_hours_may_span_midnight() -> None:
    zone = ZoneInfo("Europe/Berlin")
    spans = ("22:00-06:00", "12:30-13:00")

    def at(hour: int, minute: int) -> datetime:
        return datetime(2026, 3, 10, hour, minute, tzinfo=zone)
    assert quiet_until(spans, at(23, 0)) == at(6, 0) + timedelta(days=1)
    assert quiet_until(spans, at(5, 59)) == at(6, 0)
    assert quiet_until(spans, at(12, 45)) == at(13, 0)
    assert quiet_until(spans, at(6, 0)) is None
    assert quiet_in_s(spans, at(12, 0)) == 1800
    assert quiet_in_s((), at(12, 0)) is None
    assert quiet_between(spans, at(21, 0), at(12, 45) + timedelta(days=1)) == timedelta(hours=8, minutes=15)
    assert quiet_between(spans, at(23, 0), at(23, 30)) == timedelta(minutes=30)
    assert quiet_between(spans, at(7, 0), at(8, 0)) == quiet_between((), at(7, 0), at(23, 0)) == timedelta()
    june = datetime(2026, 6, 1, 1, 0, tzinfo=zone)
    assert quiet_between(("00:00-12:00", "12:00-00:00"), june, june + timedelta(days=99)) == timedelta(days=30)
    night = datetime(2026, 3, 28, 23, 0, tzinfo=zone)  # clocks go forward in it
    assert quiet_between(spans, night, night + timedelta(hours=10)) == timedelta(hours=6)


def test_a_run_that_quiet_hours_stop_goes_on_where_it_was(crawls: Crawls, site: PageSite) -> None:
    begun = threading.Event()

    def page(asked: Asked) -> Answer:
        number = int(asked.path[1:])
        if number == 2:
            begun.wait(20)  # until the hours begin
        return Answer(f"<p>{number}</p><a href=/{number + 1}>next</a>" if number < 5 else "<p>5</p>")
    site.pages = {f"/{number}": page for number in range(6)}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/0"\nfollow = ["a"]\nrobots = false\nquiet = ["22:00-06:00"]'
                 f'\ntimeout = "30s"{ITEM}')
    evening = datetime(2026, 3, 10, 21, 59, 59, 700_000, tzinfo=UTC)
    first = crawls.perform(clock=lambda: evening, on_stop=begun.set)
    assert (first.outcome, first.error_kind) == (Outcome.STOPPED, "QuietHours")
    assert first.error.startswith("quiet hours until 06:00; stopped with")
    now = datetime.now(UTC)
    (waiting,) = runs.resume_stopped(crawls.store, now=now, quiet_only=True)
    assert (waiting.pass_id, waiting.reason) == (first.pass_id, "resume")
    assert runs.resume_stopped(crawls.store, now=now, quiet_only=True) == []
    assert runs.start_run(crawls.store, None, owner="x", now=now, limit=9, held=["s"]) is None
    # Who asks by hand, or is a schedule, meets the run that waits.
    assert runs.claim_slot(crawls.store, "s", "by hand", due_at=now, reason="manual", now=now).id == waiting.id
    skipped = runs.claim_slot(crawls.store, "s", "slot", due_at=now, reason="schedule", now=now)
    assert skipped.error == f"run {waiting.id} is yet to begin"
    second = crawls.perform(clock=lambda: datetime(2026, 3, 11, 6, 0, tzinfo=UTC))
    assert (second.id, second.outcome, second.complete) == (waiting.id, Outcome.SUCCEEDED, True)
    assert sorted(item["x"] for item in crawls.items().values()) == list("012345")
    asked = site.paths()
    assert len(asked) - len(set(asked)) <= 1  # the page under way


def test_a_spider_that_its_quiet_hours_hold_is_not_late(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text('[spiders.s]\nstart = "http://a.example/"\nschedule = "every 1h"\n'
                                            'quiet = ["22:00-06:00"]\n')
    settings, store = load(tmp_path / "settings.toml"), open_store(tmp_path / "var")

    def due_after(name: str, after: datetime) -> datetime:
        return evening if after < evening else after + timedelta(hours=1)

    def late(now: datetime) -> bool:
        found = build_snapshot(store, settings, DueTimes({}, NOW, now, due_after), version="1")
        return bool(found["spiders"]["s"]["late"])
    evening = NOW.replace(hour=21, minute=50)
    hours = timedelta(hours=1)
    # DueTime at 21:50, half an hour of grace: ten minutes before the quiet hours, twenty after them.
    assert [late(evening + after * hours) for after in (0.1, 2, 8, 8.4, 8.6, 24, 40)] == [False] * 4 + [True] * 3
    store.close()


@pytest.mark.parametrize("text", [
    b"\xef\xbb\xbfUser-agent: *\nDisallow: /no", b"User-agent: crawl-to-inbox BAR\nDisallow: /no\n\nUser-agent: *\nAllow: /",
    b"User-agent: crawl-to-inbox\nUnknown: x\nUser-agent: other\nDisallow: /no", b"User-agent: *\nDisallow: /%6e%6f"])
def test_pages_and_files_read_one_robots_txt_alike(crawls: Crawls, site: PageSite, text: bytes) -> None:
    site.pages = {"/robots.txt": Answer(text, headers={"Content-Type": "text/plain"}), "/yes": "y", "/no": "x",
                  "/": "<p>x</p><a href=/no/1>p</a><a href=/yes>p</a><i data-src=/no/2>f</i><i data-src=/yes?file>f</i>"}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nfollow = ["a"]\ndownload = ["i"]\ndownloads.attempts = 1{ITEM}')
    run = crawls.perform()
    assert sorted(site.paths()) == ["/", "/yes", "/yes?file"]
    assert (run.progress.pages_failed, run.progress.downloads_failed) == (1, 1)


@pytest.mark.parametrize(("robots", "fetched"), [
    (Answer(b"no", 404), True), (Answer(b"no", 403), True), (Answer(b"no", 401), True), (Answer(b"", 204), True), (Answer(b"", 410), True),
    (Answer(status=301, headers={"Location": "/robots.txt"}), True), (Answer(b"<html>not found</html>"), True),
    (Answer(b"no", 500), False), (Answer(b"no", 503, headers={"Retry-After": "0"}), False), (Answer(b"no", 599), False),
    (Answer(b"User-agent: *\nDisallow: /x\n", cut=10), False),
    (Answer(gzip.compress(b"User-agent: *\nAllow: /")[:-9], headers={"Content-Encoding": "gzip"}), False)])
def test_a_robots_txt_that_cannot_be_read_lets_nothing_be_fetched_for_now(
        crawls: Crawls, site: PageSite, robots: Answer, fetched: bool) -> None:
    with PageSite({"/robots.txt": robots, "/file": "f"}) as other:
        site.pages = {"/": f"<p>x</p><a href=/page>p</a><i data-src={other.url}/file>f</i>", "/page": "<p>y</p>"}
        rules = (f'[spiders.s]\nstart = "{site.url}/"\nfollow = ["a"]\ndownload = ["i"]\nhosts = ["{other.host}"]\n'
                 f'retries = 0\ndownloads.attempts = 1{ITEM}')
        crawls.write(rules)
        run = crawls.perform()
        assert (run.progress.pages, run.progress.downloads, "/file" in other.paths()) == (2, fetched, fetched)
        site.pages["/robots.txt"] = robots
        site.asked.clear()
        run = crawls.perform()
        assert (run.complete, "/page" in site.paths(), run.progress.gone) == (fetched, fetched, 0), run.error
        if not fetched:
            assert "robots.txt cannot be read, so that nothing is fetched for now" in run.error
            assert "nothing is fetched for now" in {row.error for row in downloads_of(crawls.store, "s")}.pop()
            del site.pages["/robots.txt"], other.pages["/robots.txt"]
            run = crawls.perform()
            assert (run.complete, run.progress.downloads) == (True, 1)


def test_robots_txt_holds_for_files_too_of_this_host_and_of_others(crawls: Crawls, site: PageSite) -> None:
    text = {"Content-Type": "text/plain"}
    with PageSite({"/robots.txt": Answer("User-agent: crawl-to-inbox\nDisallow: /no", headers=text), "/no": "x", "/yes": "y"}) as other:
        site.pages = {"/robots.txt": Answer("User-agent: *\nDisallow: /no", headers=text), "/no": "x", "/yes": "y",
                      "/": "<p>x</p>" + "".join(f"<a class=d href={place}/{name}>f</a>" for place in ("", other.url)
                                                for name in ("no", "yes"))}
        spider = (f'[spiders.s]\nstart = "{site.url}/"\ndownload = [".d"]\nhosts = ["{other.host}"]\n'
                  f'downloads.attempts = 1{ITEM}')
        crawls.write(spider)
        run = crawls.perform()
        assert (run.progress.downloads, run.progress.downloads_failed) == (2, 2)
        for each in (site, other):
            assert sorted(set(each.paths()) - {"/"}) == ["/yes"]
            assert [asked.path for asked in each.asked].count("/robots.txt") == 1
        errors = {row.error for row in downloads_of(crawls.store, "s") if row.error}
        assert all("robots.txt forbids it; set robots = false" in error for error in errors), errors
        crawls.write(spider.replace("download =", "robots = false\ndownload ="))
        assert crawls.perform().progress.downloads_failed == 0
        assert "/no" in other.paths()


def test_a_retry_after_longer_than_our_patience_is_remembered_by_every_later_run(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": Answer("later", 429, headers={"Retry-After": "7200"}), "/b": Answer("<p>x</p>")}
    rules = "".join(f'[spiders.{name}]\nstart = "{site.url}{path}"\nrobots = false\nschedule = "every 1h"\n'
                    f'[spiders.{name}.items.fields]\nx = "p"\n' for name, path in (("s", "/"), ("t", "/b")))
    crawls.write(rules)
    began = datetime.now(UTC)
    first = crawls.perform("s")
    again, other = crawls.perform("s"), crawls.perform("t")
    assert (first.outcome, site.paths()) == (Outcome.FAILED, ["/"])
    assert [(run.outcome, run.error_kind) for run in (again, other)] == [(Outcome.STOPPED, "HostPaused")] * 2
    assert "asks to be left alone until" in again.error
    entries = upcoming(crawls.store, crawls.settings, now=datetime.now(UTC))
    assert all(entry.paused_until and timedelta(hours=1.9) < entry.paused_until - began < timedelta(hours=2.1)
               and entry.next == entry.paused_until for entry in entries)
    shown = build_snapshot(crawls.store, crawls.settings, DueTimes({}, began, datetime.now(UTC)), version="1")
    assert any("asks to be left alone until" in reason for reason in shown["spiders"]["t"]["reasons"])


def test_a_host_that_is_left_alone_holds_up_no_other_host_of_the_spider(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": Answer("<p>here</p>")}
    with PageSite({"/": Answer("later", 503, headers={"Retry-After": "7200"})}) as busy:
        crawls.write(f'[spiders.s]\nstart = ["{busy.url}/", "{site.url}/"]\nrobots = false{ITEM}')
        runs_ = [crawls.perform(), crawls.perform()]
        assert (busy.paths(), site.paths()) == (["/"], ["/", "/"])
        assert [(run.outcome, run.complete) for run in runs_] == [(Outcome.SUCCEEDED, False)] * 2
        assert "asks to be left alone" in runs_[1].error


def test_a_pass_goes_on_when_its_host_may_be_asked_again(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": Answer("<p>x</p>")}
    crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nrobots = false{ITEM}')
    now = datetime.now(UTC)
    host_pauses.pause_host(crawls.store, site.url.removeprefix("http://"), until=now + timedelta(hours=1), spider="s", now=now)
    assert (crawls.perform().outcome, site.paths()) == (Outcome.STOPPED, [])
    later = now + timedelta(hours=1)
    (resumed,) = runs.resume_stopped(crawls.store, now=later, quiet_only=True)
    assert host_pauses.paused_until(crawls.settings.spiders["s"], host_pauses.paused_hosts(crawls.store, now=later)) is None
    assert resumed.reason == "resume"


def test_a_login_is_not_tried_while_its_host_is_left_alone(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": Answer("<p>x</p>")}
    with PageSite({"/login": Answer("<form></form>")}) as door:
        crawls.write(f'[spiders.s]\nstart = "{site.url}/"\nrobots = false\n[spiders.s.login]\nurl = "{door.url}/login"\n'
                     f'fields = {{ user = "u" }}\ncheck = "a"{ITEM}')
        now = datetime.now(UTC)
        host_pauses.pause_host(crawls.store, door.url.removeprefix("http://"), until=now + timedelta(hours=1), spider="s", now=now)
        assert (crawls.perform().outcome, site.paths(), door.paths()) == (Outcome.STOPPED, [], [])
