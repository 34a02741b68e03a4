"""Tests with other programs as clients: nc, curl, promtool, Prometheus and others."""

from __future__ import annotations

import json
import os
import subprocess
import time
from contextlib import contextmanager

import pytest
import requests

from pipeline.heartbeat.connections.listeners import tls_context
from tests.heartbeat.conftest import empty, past_run, progress, run_status, spider_status
from tests.servers.program import eventually

STAMPED = "[2026-11-22 23:16:41] "
BUSY = empty() | {
    "health": "degraded", "reasons": ["books: late"],
    "spiders": {"books": spider_status(recent=[past_run()]), "idle": spider_status(last_run=None, recent=[])},
    "runs": [run_status(ended_at=None, outcome=None, progress=progress(pages=3))],
    "disk": {"free_bytes": 5_000_000_000, "total_bytes": 10_000_000_000, "keep_free_bytes": 200_000_000}}


def sh(heartbeat, line, stdin=None):
    """A shell line with HOST and PORT; what it prints and its exit code."""
    host, port = heartbeat.address
    done = subprocess.run(["sh", "-c", line.replace("HOST", host).replace("PORT", str(port))], capture_output=True,
                          text=True, timeout=30, check=False, input=stdin or "",
                          env=os.environ | {"NO_PROXY": "*"})
    return done.stdout, done.returncode


@pytest.mark.parametrize("client", [
    pytest.param("nc -N HOST PORT", marks=pytest.mark.needs("nc")),
    pytest.param("ncat HOST PORT", marks=pytest.mark.needs("ncat")),
    pytest.param("socat - TCP:HOST:PORT", marks=pytest.mark.needs("socat"))])
def test_a_line_client_gets_its_lines_back_and_the_status_for_no_input(heartbeat, client):
    assert sh(heartbeat, client, "ping\nhello ü\r\nquit\n") == (f"pong\n{STAMPED}hello ü\nbye\n", 0)
    assert sh(heartbeat, client, "no newline")[0] == f"{STAMPED}no newline\n"
    assert json.loads(sh(heartbeat, client)[0])["health"] == "ok"


@pytest.mark.needs("socat")
def test_a_datagram_client_gets_one_packet(start):
    assert sh(start(udp=True), "socat -t 1 - UDP:HOST:PORT", "health")[0] == "ok\n"


@pytest.mark.needs("ncat")
def test_ncat_speaks_lines_over_tls(start, authority, tmp_path):
    from pipeline.settings import load
    certificate = authority.issue(host="localhost")
    (tmp_path / "cert.pem").write_bytes(certificate.private_key_and_cert_chain_pem.bytes())
    (tmp_path / "settings.toml").write_text('[heartbeat]\ncertificate = "cert.pem"\n')
    heartbeat = start(tls=tls_context(load(tmp_path / "settings.toml")))
    answer, code = sh(heartbeat, f"ncat --ssl-verify --ssl-trustfile {authority.ca_file} localhost PORT", "ping\nquit\n")
    assert (answer, code) == ("pong\nbye\n", 0)


@pytest.mark.needs("telnet")
def test_telnet_shows_answers(heartbeat):
    answer, _ = sh(heartbeat, "(echo ping; sleep 1; echo quit; sleep 1) | telnet HOST PORT")
    assert answer.splitlines()[-2:] == ["pong", "bye"]


@pytest.mark.needs("check_tcp", "check_http")
def test_monitoring_plugins_distinguish_ok_from_degraded(heartbeat, service):
    tcp = "check_tcp -H HOST -p PORT -t 5 -s 'health\\nquit\\n' -E -e ok -M crit"
    http = "check_http -H HOST -p PORT -t 5 -u /healthz -s ok"
    assert sh(heartbeat, "check_tcp -H HOST -p PORT -t 5 -E -s 'health\\nquit\\n' -e ok -M crit")[1] == 0
    assert sh(heartbeat, http)[1] == 0
    service.says = BUSY
    assert sh(heartbeat, tcp)[1] == 2
    answer, code = sh(heartbeat, http)
    assert (code, "503" in answer) == (2, True)


@pytest.mark.needs("promtool", "curl")
@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text; version=1.0.0"])
def test_promtool_accepts_the_metrics(heartbeat, service, accept):
    service.says = BUSY
    if accept == "text/plain":  # promtool reads the text format only
        done, code = sh(heartbeat, "curl -s http://HOST:PORT/metrics | promtool check metrics 2>&1")
        assert (done, code) == ("", 0)
    else:
        assert sh(heartbeat, f"curl -s -H 'Accept: {accept}' http://HOST:PORT/metrics")[0].endswith("# EOF\n")


@contextmanager
def started(*command):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def told(url):
    try:
        return requests.get(url, timeout=5)
    except requests.ConnectionError:
        return None


@pytest.mark.needs("prometheus")
def test_prometheus_scrapes_it(start, service, tmp_path, free_port):
    service.says = BUSY
    heartbeat = start()
    (tmp_path / "p.yml").write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n- {job_name: pipeline, static_configs: "
        f"[{{targets: ['127.0.0.1:{heartbeat.address[1]}']}}]}}\n")
    query = f"http://127.0.0.1:{free_port}/api/v1/query"
    with started("prometheus", f"--config.file={tmp_path}/p.yml", f"--storage.tsdb.path={tmp_path}/tsdb",
                 f"--web.listen-address=127.0.0.1:{free_port}"):
        def value(name):
            answer = told(f"{query}?query={name}")
            found = answer.json()["data"]["result"] if answer is not None and answer.ok else []
            return found[0]["value"][1] if found else None

        assert eventually(lambda: value('pipeline_health{state="degraded"}')) == "1"
        assert value("up") == "1"


@pytest.mark.needs("prometheus-blackbox-exporter")
def test_the_blackbox_exporter_probes_lines_and_http(heartbeat, tmp_path, free_port):
    (tmp_path / "b.yml").write_text(
        "modules:\n"
        "  line: {prober: tcp, timeout: 2s, tcp: {query_response: [{send: health}, {expect: '^ok'}]}}\n"
        "  health: {prober: http, timeout: 2s, http: {preferred_ip_protocol: ip4}}\n")
    with started("prometheus-blackbox-exporter", f"--config.file={tmp_path}/b.yml",
                 f"--web.listen-address=127.0.0.1:{free_port}"):
        base = f"http://127.0.0.1:{free_port}/probe"
        target = f"127.0.0.1:{heartbeat.address[1]}"
        assert "probe_success 1" in eventually(lambda: told(f"{base}?module=line&target={target}")).text
        assert "probe_success 1" in told(f"{base}?module=health&target=http://{target}/healthz").text


@pytest.mark.needs("wrk")
def test_wrk_gets_an_answer_to_every_request(heartbeat):
    began = time.monotonic()
    answer, code = sh(heartbeat, "wrk -t1 -c8 -d1s http://HOST:PORT/livez")
    assert (code, "Requests/sec" in answer) == (0, True)
    assert "Non-2xx" not in answer
    assert "Socket errors" not in answer
    assert time.monotonic() - began < 20
