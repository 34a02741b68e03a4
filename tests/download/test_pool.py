"""The download pool: limits on workers and hosts, retries, leases, stops and drains."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
import trustme

from pipeline.download.limits import DownloadLimits
from pipeline.errors import DiskFullError, LeaseLostError, ProxyError
from pipeline.model import Download, DownloadState
from pipeline.store.files import download_queue as queue
from pipeline.store.runs import leases
from tests.download.conftest import Bench, session
from tests.servers.files import FileServer
from tests.servers.ports import free_port

BODY = bytes(range(256)) * 8192  # 2 MiB
DEADLINE_S = 30.0


def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition is true, testing it every few milliseconds, up to a deadline."""
    looks = threading.Event()
    for _ in range(int(DEADLINE_S / 0.005)):
        if condition():
            return
        looks.wait(0.005)
    raise AssertionError("the condition did not become true in time")


def test_all_waiting_files_are_fetched_by_a_limited_number_of_workers(bench: Bench) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def enter() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)

    def leave() -> None:
        nonlocal now
        with lock:
            now -= 1

    urls = []
    for number in range(30):
        urls.append(bench.server.put(f"/{number}.bin", b"%d" % number * 1000, before=enter))
        served = bench.server.served[f"/{number}.bin"]
        served.at.append((1, leave))
        served.delay_s = 0.01
    run = bench.new_run()
    bench.ask_for(run, *urls)
    assert bench.fetch(run, workers=4).figures().done == 30
    assert 1 < most <= 4
    assert queue.counts(bench.store, run.pass_id) == {DownloadState.DONE: 30}
    assert {file.run_id for file in bench.files} == {run.id}


def test_no_host_gets_more_requests_than_per_host_allows(bench: Bench) -> None:
    run = bench.new_run()
    bench.ask_for(run, *(f"http://a/{n}" for n in range(5)), *(f"http://B:80/{n}" for n in range(5)), "http://c/")
    now = datetime.now(UTC)
    taken = queue.take(bench.store, run, owner="me", now=now, limit=9, per_host=2, busy_hosts={"a": 1})
    assert [wanted.url for wanted in taken] == ["http://a/0", "http://B:80/0", "http://B:80/1", "http://c/"]
    assert queue.take(bench.store, run, owner="you", now=now, limit=9, per_host=2,
                      busy_hosts={"a": 2, "b": 2, "c": 2}) == []


def test_downloads_requested_during_a_drain_are_fetched_too(bench: Bench) -> None:
    first, second = bench.server.put("/1", b"1"), bench.server.put("/2", b"2")
    run = bench.new_run()
    made = bench.pool(run)
    made.start()
    bench.ask_for(run, first)
    made.wake()
    until(lambda: made.figures().done == 1)
    bench.ask_for(run, second)
    made.drain()
    assert made.figures().done == 2


def test_a_stop_keeps_the_part_and_the_next_run_resumes_it(bench: Bench) -> None:
    url = bench.server.put("/a.bin", BODY, etag='"v1"', stall_after=1_500_000)
    run = bench.new_run()
    bench.ask_for(run, url)
    made = bench.pool(run)
    made.start()
    until(lambda: made.figures().bytes > 1_000_000)
    made.stop()
    row = bench.row(url)
    assert (row["state"], row["attempt"], row["lease_owner"]) == ("waiting", 0, "")
    part, = bench.parts
    kept = part.stat().st_size
    assert kept > 1_000_000
    assert bench.names == []
    bench.end(run, keep_open=True)

    bench.server.served["/a.bin"].stall_after = None
    bench.get(url)
    assert bench.server.asked[-1].headers["range"] == f"bytes={kept}-"
    assert bench.content(bench.files[0]) == BODY


@pytest.mark.parametrize("how", [{}, {"close_delimited": True}])
def test_a_stop_over_tls_keeps_only_what_was_decrypted(bench: Bench, tmp_path: Path, how: dict[str, bool]) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def trusting() -> requests.Session:
        client = session()
        client.verify = str(tmp_path / "ca.pem")
        return client

    site = FileServer(tls=context)
    site.start()
    url = site.put("/a.bin", BODY, etag='"v1"', pause_s=0.01, **how)
    run = bench.new_run()
    bench.ask_for(run, url)
    made = bench.pool(run, client=trusting)
    made.start()
    until(lambda: made.figures().bytes > 300_000)
    made.stop()
    part, = bench.parts
    kept = part.read_bytes()
    assert 300_000 < len(kept) < len(BODY)
    assert BODY.startswith(kept)
    assert bench.names == []
    bench.end(run, keep_open=True)

    run = bench.new_run()
    again = bench.pool(run, client=trusting)
    again.start()
    again.drain()
    site.stop()
    assert site.asked[-1].status == 206
    assert bench.content(bench.files[0]) == BODY


def test_attempts_without_progress_are_limited_and_those_with_progress_are_not(bench: Bench) -> None:
    big = bytes(9_000_000)
    getting_on = bench.server.put("/on", big, etag='"1"', gentle=True, cuts=[2_000_000, 2_000_000, 2_000_000, 2_000_000])
    stuck = bench.server.put("/stuck", b"x" * 5000, cuts=[10] * 9)
    figures = bench.get(getting_on, stuck, attempts=2).figures()
    assert (figures.done, figures.failed) == (1, 1)
    assert len(bench.server.asked_for("/stuck")) == 2
    assert len(bench.server.asked_for("/on")) == 5


@pytest.mark.parametrize(("status", "headers", "asked"), [
    (429, {"Retry-After": "3600"}, [3600.0]), (503, {"Retry-After": "3600"}, [3600.0]), (500, {}, [])])
def test_a_host_that_asks_for_no_more_requests_is_reported(bench: Bench, status: int, headers: dict[str, str],
                                                       asked: list[float]) -> None:
    url = bench.server.put("/a.bin", BODY, statuses=[status], headers=headers)
    told: list[tuple[str, float]] = []
    bench.get(url, leave_alone=lambda *word: told.append(word))
    assert told == [(url, seconds) for seconds in asked]


def test_a_host_without_retry_after_is_left_alone_until_the_next_attempt(bench: Bench) -> None:
    url = bench.server.put("/a.bin", BODY, statuses=[429, 429])
    told: list[float] = []
    done = bench.get(url, leave_alone=lambda url, seconds: told.append(seconds))
    assert done.figures().done == 1
    assert [seconds > 0 for seconds in told] == [True, True]


def test_the_next_pass_retries_a_failed_download(bench: Bench) -> None:
    url = bench.server.put("/a", BODY, statuses=[500, 500])
    assert bench.get(url, attempts=2).figures().failed == 1
    bench.server.served["/a"].statuses = [500]
    assert bench.get(url, attempts=2).figures().done == 1


def test_too_little_free_disk_space_is_fatal_and_loses_nothing(bench: Bench) -> None:
    url = bench.server.put("/a", BODY)
    made = bench.get(url, keep_free_bytes=10**18)
    assert isinstance(made.fatal, DiskFullError)
    assert made.fatal.exit_code == 6
    assert bench.row(url)["state"] == "waiting"
    assert bench.get(url).figures().done == 1


def test_the_size_limit_of_a_run_counts_all_its_files(bench: Bench) -> None:
    urls = [bench.server.put(f"/{number}", BODY) for number in range(3)]
    run = bench.new_run()
    bench.ask_for(run, *urls)
    made = bench.pool(run, workers=1, max_run_bytes=2 * len(BODY))
    made.start()
    made.drain()
    assert (made.figures().done, made.figures().failed) == (2, 1)
    assert "the downloads of this run exceed the limit" in str(bench.row(urls[2])["error"])


def test_a_proxy_that_is_down_is_reported_and_never_bypassed(bench: Bench, free_port: int) -> None:
    def through_nowhere() -> requests.Session:
        client = session()
        client.proxies = {"http": f"http://me:secret@127.0.0.1:{free_port}"}
        return client

    url = bench.server.put("/a", BODY)
    run = bench.new_run()
    bench.ask_for(run, url)
    made = bench.pool(run, client=through_nowhere)
    made.start()
    made.drain()
    error = str(bench.row(url)["error"])
    assert "the proxy is down" in error
    assert "secret" not in error
    assert bench.server.asked == []
    assert ProxyError.exit_code == 4


def test_a_download_leased_by_another_process_cannot_be_changed(bench: Bench) -> None:
    url = bench.server.put("/a", BODY)
    run = bench.new_run()
    bench.ask_for(run, url)
    now = datetime.now(UTC)
    wanted, = queue.take(bench.store, run, owner="slow", now=now, limit=1)
    later = now + leases.TTL + timedelta(seconds=1)
    again, = queue.take(bench.store, run, owner="next", now=later, limit=1)
    assert again.attempt == 2
    arrived = queue.CompletedDownload(wanted, key="downloads/books/a", name="a", size_bytes=1)
    assert queue.record(bench.store, run, [arrived], owner="slow", now=later) == set()
    with pytest.raises(LeaseLostError):
        queue.fail(bench.store, wanted.spider, wanted.id, owner="slow", error="", now=datetime.now(UTC), retry_at=None, attempts=1)
    queue.release(bench.store, wanted.spider, [wanted.id], owner="slow")
    assert bench.row(url)["lease_owner"] == "next"
    assert queue.renew(bench.store, wanted.spider, [wanted.id], owner="slow", now=later) == set()
    assert bench.files == []


def test_a_transfer_whose_lease_was_lost_stops_and_leaves_no_file(bench: Bench) -> None:
    url = bench.server.put("/a", BODY, stall_after=1_000_000)
    run = bench.new_run()
    bench.ask_for(run, url)
    made = bench.pool(run, lease_renewal_s=0.05, patience_s=1.0)
    made.start()
    until(lambda: made.figures().bytes > 0)
    later = datetime.now(UTC) + leases.TTL + timedelta(seconds=5)
    assert queue.take(bench.store, run, owner="thief", now=later, limit=1)
    made.drain()
    assert made.fatal is None
    assert bench.row(url)["lease_owner"] == "thief"
    assert bench.names == []


def test_a_download_of_a_dead_process_is_fetched_once_its_lease_expires(bench: Bench) -> None:
    url = bench.server.put("/a", BODY)
    run = bench.new_run()
    bench.ask_for(run, url)
    queue.take(bench.store, run, owner="dead", now=datetime.now(UTC) - leases.TTL + timedelta(seconds=0.4), limit=1)
    made = bench.pool(run)
    made.start()
    made.drain()
    assert made.figures().done == 1


def test_a_run_that_lost_its_lease_fetches_nothing(bench: Bench) -> None:
    run = bench.new_run()
    bench.ask_for(run, bench.server.put("/a", BODY))
    bench.end(run, keep_open=True)
    made = bench.pool(run)
    made.start()
    made.drain()
    assert isinstance(made.fatal, LeaseLostError)
    assert bench.server.asked == []


def test_parts_that_the_store_does_not_know_are_removed(bench: Bench) -> None:
    bench.get(bench.server.put("/a", BODY))
    (bench.folder / ".parts" / "9-dead.part").write_bytes(b"left by a kill")
    bench.get(bench.server.put("/b", BODY))
    assert bench.parts == []


def test_cookies_set_by_a_download_reach_the_session(bench: Bench) -> None:
    jar = requests.cookies.RequestsCookieJar()

    def with_jar() -> requests.Session:
        client = session()
        client.cookies = jar
        return client

    url = bench.server.put("/a", BODY, headers={"Set-Cookie": "seen=yes; Path=/"})
    run = bench.new_run()
    bench.ask_for(run, url)
    made = bench.pool(run, client=with_jar)
    made.start()
    made.drain()
    assert jar.get("seen") == "yes"


def test_the_rate_limit_is_kept(bench: Bench) -> None:
    started_s = time.monotonic()
    assert bench.get(bench.server.put("/a", bytes(300_000)), rate_bytes_s=1_000_000).figures().done == 1
    assert time.monotonic() - started_s > 0.25, "300 kB at 1 MB/s take 0.3 s"


def test_figures_show_each_file_in_transfer(bench: Bench) -> None:
    url = bench.server.put("/report.pdf", BODY, stall_after=1_000_000)
    run = bench.new_run()
    bench.ask_for(run, url)
    made = bench.pool(run)
    made.start()
    until(lambda: made.figures().bytes > 0)
    file, = made.figures().active
    assert (file.name, file.total_bytes) == ("report.pdf", len(BODY))
    made.stop()
    assert made.figures().active == ()


def test_a_server_that_restarts_is_tried_again(bench: Bench) -> None:
    gone = FileServer(free_port())  # no connection gets this port between the two servers
    gone.start()
    url = gone.put("/a.bin", BODY, etag='"v1"')
    back: list[FileServer] = []

    def restart() -> None:
        threading.Thread(target=lambda: (gone.stop(), back.append(FileServer(gone.port, gone.served)),
                                         back[0].start())).start()

    gone.served["/a.bin"].at.append((1_200_000, restart))
    gone.served["/a.bin"].pause_s = 0.005
    assert bench.get(Download(url), backoff_s=0.2, attempts=9).figures().done == 1
    assert bench.content(bench.files[0]) == BODY
    back[0].stop()


def test_a_stop_during_a_drain_ends_both(bench: Bench) -> None:
    urls = [bench.server.put(f"/{number}", BODY) for number in range(20)]
    run = bench.new_run()
    bench.ask_for(run, *urls)
    made = bench.pool(run, workers=4)
    made.start()
    draining = threading.Thread(target=made.drain)
    draining.start()
    until(lambda: made.figures().done > 0)
    stops = [threading.Thread(target=made.stop) for _ in range(3)]
    for each in stops:
        each.start()
    for each in (*stops, draining):
        each.join(DEADLINE_S)
        assert not each.is_alive()
    assert made.fatal is None
    assert bench.row(urls[-1])["lease_owner"] == ""
    assert made.figures().done == len(bench.files)


def test_buffers_are_smaller_with_many_workers_or_a_rate_limit() -> None:
    assert DownloadLimits().buffer_bytes == 1024 * 1024
    assert all(4 * workers * DownloadLimits(workers=workers).buffer_bytes <= 32 * 1024 * 1024 for workers in range(1, 65))
    assert DownloadLimits(rate_bytes_s=1_000_000).buffer_bytes == 125_000
