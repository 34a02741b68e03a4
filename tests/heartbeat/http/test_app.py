"""Tests of probes, status, metrics and the overview over HTTP."""

from __future__ import annotations

import json
import socket
import subprocess

import pytest
import requests
from lxml import html
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from pipeline.errors import StoreError
from pipeline.heartbeat.connections.limits import ServerLimits
from tests.heartbeat.conftest import empty, past_run, progress, run_status, spider_status


@pytest.fixture
def get(heartbeat):
    with requests.Session() as session:
        session.trust_env = False

        def get(path, method="GET", **options):
            return session.request(method, f"http://127.0.0.1:{heartbeat.address[1]}{path}", timeout=10, **options)

        yield get


def raw(heartbeat, request, half_close=False):
    with socket.create_connection(heartbeat.address, 10) as sock:
        sock.sendall(request)
        if half_close:
            sock.shutdown(socket.SHUT_WR)
        return sock.makefile("rb").read()


BUSY = empty() | {
    "health": "degraded", "reasons": ["books: <b>late</b>"],
    "spiders": {"books": spider_status(health="degraded", reasons=["<b>late</b>"], problems=[{"kind": "archive", "detail": "3"}], late=True, recent=[
        past_run(id=number, outcome=outcome, duration_s=None if outcome == "killed" else 1.0)
        for number, outcome in enumerate(("succeeded", "failed", "killed"))]),
        "idle": spider_status(next_due=None, last_success=None, last_run=None, recent=[], schedule=None,
                              day={"runs": {}, "progress": {}})},
    "runs": [run_status(ended_at=None, outcome=None, progress=progress(pages=3, items=9, waiting=9))],
    "outbox": {"waiting": 2, "oldest_age_s": 3700.0, "parked": 1, "last_error": "<script>", "refused": 0, "refused_addresses": []},
    "disk": {"free_bytes": 5_000_000_000, "total_bytes": 10_000_000_000, "keep_free_bytes": 200_000_000},
}


def test_healthz_is_200_only_when_health_is_ok(get, service):
    assert (get("/healthz").status_code, get("/healthz").text) == (200, "ok\n")
    service.says = BUSY
    assert (get("/healthz").status_code, get("/healthz").text) == (503, "degraded: books: <b>late</b>\n")
    assert get("/healthz").headers["Content-Type"].startswith("text/plain")


def test_livez_reports_the_process_and_readyz_the_store(get, service):
    service.says = StoreError("the database is damaged")
    assert get("/livez").status_code == 200
    ready = get("/readyz")
    assert (ready.status_code, ready.text) == (503, "the database is damaged\n")
    assert get("/healthz").status_code == 503


def test_status_json_equals_the_answer_to_the_status_command(get, heartbeat):
    response = get("/status.json")
    assert response.headers["Content-Type"].startswith("application/json")
    assert response.text.encode() == raw(heartbeat, b"status\n", half_close=True)


def test_metrics_are_prometheus_or_openmetrics_as_the_scraper_accepts(get, service):
    service.says = BUSY
    plain = get("/metrics")
    assert plain.headers["Content-Type"].startswith("text/plain; version=")
    found = {(sample.name, *sorted(sample.labels.values())): sample.value
             for family in prometheus(plain.text) for sample in family.samples}
    assert found["pipeline_health", "degraded"] == 1
    assert found["pipeline_health", "ok"] == 0
    assert found["pipeline_spider_late", "books"] == 1
    assert found["pipeline_spider_last_success_timestamp_seconds", "books"] == 1795302012
    assert found["pipeline_day_runs", "books", "succeeded"] == 1
    assert found["pipeline_day_changes", "books", "new"] == 40
    assert found["pipeline_day_download_bytes", "books"] == 4_000_000
    assert found["pipeline_rule_pages_matched", "books", "items.each"] == 4
    assert found["pipeline_rule_pages", "books", "download"] == 5
    assert found["pipeline_rule_pages_matched", "books", "download"] == 0
    assert found["pipeline_field_filled_ratio", "books", "price"] == 0.95
    assert found["pipeline_outbox_waiting",] == 2
    assert found["pipeline_outbox_oldest_age_seconds",] == 3700
    assert found["process_resident_memory_bytes",] > 0
    assert ("pipeline_spider_last_success_timestamp_seconds", "idle") not in found
    asked = get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert asked.headers["Content-Type"].startswith("application/openmetrics-text")
    assert {family.name for family in open_metrics(asked.text)} >= {"pipeline_health", "pipeline_day_runs"}


def test_metrics_of_an_unreadable_store_say_so_and_contain_no_zeros(get, service):
    service.says = StoreError("damaged")
    text = get("/metrics").text
    assert "pipeline_store_readable 0.0" in text
    assert "outbox" not in text


def test_the_overview_shows_every_spider_and_what_is_wrong(get, service):
    service.says = BUSY
    response = get("/")
    tree = html.fromstring(response.content)
    assert [row.get("data-spider") for row in tree.cssselect("table.overview tbody tr")] == ["books", "idle"], "trouble comes first"
    assert tree.cssselect("tr[data-spider=books] .problem")[0].text_content() == "<b>late</b>"
    assert not tree.xpath("//script|//b")
    assert len(tree.cssselect("tr[data-spider=books] .spark svg path")) == 6
    assert "1 h 1 min" in tree.text_content()
    assert "Run 7: 3 pages, 9 items, 0 downloads" in tree.text_content()
    assert [cell.text_content().strip() for cell in tree.cssselect("tr[data-spider=books] .spark")] == ["40", "1 s"]
    assert "built-in" not in response.text
    assert get("/style.css").headers["Content-Type"].startswith("text/css")


def test_the_overview_works_for_an_empty_or_broken_service(get, service):
    assert "No spiders" in get("/").text
    service.says = StoreError("damaged")
    assert "cannot be read" in get("/").text


def test_a_host_header_with_another_name_is_refused(get, start):
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "user@localhost"):
        assert get("/status.json", headers={"Host": host}).status_code == 421
    for host in ("localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "192.0.2.7"):
        assert get("/status.json", headers={"Host": host}).status_code == 200
    named = start(host_names=("pipeline.lan",))
    url = f"http://127.0.0.1:{named.address[1]}/livez"
    assert requests.get(url, headers={"Host": "pipeline.lan:8000"}, timeout=10).status_code == 200


def test_every_response_has_the_security_headers(get):
    for path, status in (("/", 200), ("/metrics", 200), ("/nothing", 404), ("/livez", 200)):
        response = get(path)
        assert response.status_code == status
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Server"] == "pipeline"
        assert "Access-Control-Allow-Origin" not in response.headers


def test_head_answers_like_get_without_the_body(get):
    response = get("/healthz", method="HEAD")
    assert (response.status_code, response.content, response.headers["Content-Length"]) == (200, b"", "3")


def test_other_methods_than_get_and_head_are_refused(get):
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        response = get("/status.json", method=method, data=b"x")
        assert response.status_code == 405
        assert "GET" in response.headers["Allow"]


@pytest.mark.parametrize("path", ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd",
                                  "/style.css/../web.py", "/templates/overview.html"])
def test_no_path_leads_to_a_file(heartbeat, path):
    answer = raw(heartbeat, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404")


def test_several_requests_share_a_connection_and_a_half_closed_one_is_answered(heartbeat):
    request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert raw(heartbeat, request, half_close=True).count(b"200 OK") == 1
    with socket.create_connection(heartbeat.address, 10) as sock:
        for _ in range(3):
            sock.sendall(request)
            assert sock.recv(65536).startswith(b"HTTP/1.1 200 OK")
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(65536) == b""


def test_a_request_in_pieces_is_a_request(heartbeat):
    with socket.create_connection(heartbeat.address, 10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in (b"GET /liv", b"ez HTTP/1", b".1\r\nHost: loc", b"alhost\r\nConnection: close\r\n", b"\r\n"):
            sock.sendall(piece)
        assert sock.makefile("rb").read().startswith(b"HTTP/1.1 200 OK")


def test_text_that_only_begins_like_http_is_text(heartbeat):
    for text in (b"GET me some milk\n", b"GET / please\n", b"get / HTTP/1.1\n", b"say\nGET / HTTP/1.1\n"):
        assert raw(heartbeat, text, half_close=True).splitlines()[0].startswith(b"[2026-11-22 23:16:41] ")


@pytest.mark.parametrize("request_", [
    b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\n\x00: x\r\n\r\n",
])
def test_broken_and_smuggled_requests_get_one_400_and_are_closed(heartbeat, connect, caplog, request_):
    answer = raw(heartbeat, request_)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")), answer[:200]
    assert answer.count(b"HTTP/1.") == 1
    assert not caplog.records
    sock, answers = connect()
    sock.sendall(b"ping\n")
    assert answers.readline() == b"pong\n"


def test_a_request_that_never_ends_is_cut_off(start):
    heartbeat = start(limits=ServerLimits(http_idle_s=0.2))
    assert raw(heartbeat, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: y") == b""
    answer = raw(heartbeat, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200"), "a kept connection is let go after its answer"


@pytest.mark.needs("curl")
def test_curl_gets_the_health_and_its_exit_code(heartbeat, service):
    url = f"http://127.0.0.1:{heartbeat.address[1]}/healthz"
    command = ["curl", "--noproxy", "*", "-sS", "--fail-with-body", "-m", "10", url]
    assert subprocess.run(command, capture_output=True, timeout=20, check=True).stdout == b"ok\n"
    service.says = BUSY
    done = subprocess.run(command, capture_output=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (22, b"degraded: books: <b>late</b>\n")


def test_an_exception_is_a_500_without_details_and_is_logged(get, service, caplog):
    service.says = ZeroDivisionError("secret")
    response = get("/status.json")
    assert response.status_code == 500
    assert "secret" not in response.text
    assert "ZeroDivisionError" in caplog.text


def test_json_of_names_in_any_script_survives(get, service):
    service.says = empty() | {"reasons": ["产品: ü"]}
    assert json.loads(get("/status.json").content)["reasons"] == ["产品: ü"]
