"""Tests of sign-in and sign-out, of sessions, and of clients behind reverse proxies."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice

import pytest
import requests
from lxml import html

from pipeline.cli.settings_check import remarks_on
from pipeline.errors import SettingsError
from pipeline.heartbeat.access import AccessPolicy, parse_networks
from pipeline.heartbeat.http.access import sessions, token_verifier
from pipeline.heartbeat.http.console.overview import live_rows
from pipeline.heartbeat.http.operations.context import OperationsContext
from pipeline.heartbeat.token import Token, load_or_create_token
from pipeline.settings import load
from pipeline.store import open_store
from pipeline.store.access import api_tokens, audit_log, console_sessions
from pipeline.store.maintenance import retention
from pipeline.store.runs import paused_spiders
from tests.heartbeat.conftest import NOW, Service

SETTINGS = """
[heartbeat]
session_idle = "2h"
session_max = "1d"
[spiders.books]
start = ["https://books.example/"]
items.fields.title = "h1"
"""
PROXY = parse_networks(("127.0.0.1", "10.0.0.0/8"))
PUBLIC = "https://news.example.com"


class World:
    def __init__(self, folder, start):
        (folder / "settings.toml").write_text(SETTINGS)
        self.settings = load(folder / "settings.toml")
        self.store = open_store(folder / "var")
        self.now = NOW
        self.token = load_or_create_token(folder / "var")
        self.start = start
        self.serve()

    def serve(self, token=None, **policy):
        actions = OperationsContext(self.store, lambda: self.settings, lambda: self.now)
        address = self.start(source=Service(), actions=actions, access=AccessPolicy(token or self.token, **policy), host_names=("news.example.com",)).address
        self.base = "http://{}:{}".format(*address)

    def browser(self, token=None, **headers):
        """A browser that has entered a token."""
        session = requests.Session()
        session.trust_env = False
        session.headers.update(headers)
        self.entered = session.post(f"{self.base}/enter", data={"token": token or self.token.reveal()}, timeout=10, allow_redirects=False)
        return session

    def status(self, browser, path="/spiders/books"):
        return browser.get(self.base + path, timeout=10, allow_redirects=False).status_code

    def post(self, browser, path, proof, **headers):
        return browser.post(self.base + path, data={"proof": proof}, headers=headers, timeout=10, allow_redirects=False)

    def proof(self, browser):
        return html.fromstring(browser.get(f"{self.base}/spiders/books", timeout=10).content).xpath("//input[@name='proof']/@value")[0]

    def audited(self):
        return [(entry.who, entry.source, entry.action, entry.outcome) for entry in audit_log.entries(self.store, limit=50)]


@pytest.fixture
def world(tmp_path, start, monkeypatch):
    monkeypatch.setattr(token_verifier, "FRESH_S", 0.0)
    monkeypatch.setattr(sessions, "FRESH_S", 0.0)
    world = World(tmp_path, start)
    yield world
    world.store.close()


# Sessions


def test_a_session_ends_when_the_browser_signs_out_and_no_other_does(world):
    browser, other = world.browser(), world.browser()
    cookie = dict(browser.cookies)
    assert world.post(browser, "/sign-out", "0").status_code == 403
    assert world.post(browser, "/sign-out", world.proof(other)).status_code == 403, "the proof of another session"
    assert world.status(browser) == 200
    answer = world.post(browser, "/sign-out", world.proof(browser))
    assert (answer.status_code, answer.headers["Location"], dict(browser.cookies)) == (303, "/", {})
    assert requests.get(f"{world.base}/spiders/books", cookies=cookie, timeout=10).status_code == 403, "a copy of the cookie"
    assert world.status(other) == 200
    assert [line for line in world.audited() if line[2].startswith("sign")] == [
        ("main", "127.0.0.1", "sign-in", "done"), ("main", "127.0.0.1", "sign-in", "done"), ("main", "127.0.0.1", "sign-out", "done")]


def test_a_session_ends_after_idle_time_and_at_the_latest_after_its_maximum(world):
    browser = world.browser()
    for hours, status in ((1, 200), (2.5, 200), (4, 200), (6.1, 403)):
        world.now = NOW + timedelta(hours=hours)
        assert world.status(browser) == status, hours
    busy = world.browser()
    started = world.now
    for hours in range(1, 24):
        world.now = started + timedelta(hours=hours)
        assert world.status(busy) == 200, hours
    world.now = started + timedelta(hours=24, seconds=1)
    assert world.status(busy) == 403
    retention.prune(world.store, retention.RetentionRules(), now=world.now)
    with world.store.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM console_sessions").scalar() == 0


def test_who_has_a_session_that_has_ended_is_told_so_and_comes_back_to_the_page(world):
    browser = world.browser()
    proof = world.proof(browser)
    world.now = NOW + timedelta(hours=3)
    found = html.fromstring(browser.get(f"{world.base}/spiders/books", timeout=10).content)
    assert found.cssselect("h1")[0].text == "Your session has ended"
    assert found.forms[0].action == "/enter?next=/spiders/books"
    lost = world.post(browser, "/spiders/books/pause", proof)
    assert (lost.status_code, "had no effect" in lost.text, "/enter?next=/spiders/books" in lost.text) == (403, True, True)
    assert "Your session has ended" not in requests.get(f"{world.base}/spiders/books", timeout=10).text
    world.settings = world.settings.model_copy(update={"pipeline": world.settings.pipeline.model_copy(update={"language": "zh"})})
    assert "您的登录已结束" in browser.get(f"{world.base}/spiders/books", timeout=10).text


def test_a_session_outlives_the_service_but_neither_its_token_nor_the_one_in_data_dir(world):
    token = api_tokens.create(world.store, "anna", "full", now=NOW)
    browser, main = world.browser(token), world.browser()
    world.serve()
    assert (world.status(browser), world.status(main)) == (200, 200)
    api_tokens.revoke(world.store, "anna", now=NOW)
    assert (world.status(browser), world.status(main)) == (403, 200)
    again = Token("n" * 40)
    world.serve(token=again)
    assert world.status(main) == 403
    main.cookies.set(again.cookie_name, next(iter(main.cookies)).value)
    assert world.status(main) == 403, "a session that the old token signed"


def test_a_browser_with_a_token_acts_under_its_name_and_a_read_only_one_does_not_act(world):
    anna = world.browser(api_tokens.create(world.store, "anna", "full", now=NOW))
    guest = world.browser(api_tokens.create(world.store, "guest", "read", now=NOW))
    assert world.post(anna, "/spiders/books/pause", world.proof(anna)).status_code == 303
    refused = world.post(guest, "/spiders/books/resume", world.proof(guest))
    assert (refused.status_code, "may only read" in refused.text) == (403, True)
    assert world.post(anna, "/spiders/books/resume", world.proof(guest)).status_code == 403, "the proof of another session"
    assert paused_spiders.paused_spiders(world.store, now=NOW) == {"books"}
    assert ("anna", "127.0.0.1", "pause", "done") in world.audited()
    assert world.post(guest, "/sign-out", world.proof(guest)).status_code == 303, "who may only read may sign out"


def test_each_sign_in_gets_a_new_session_and_ends_the_one_before(world):
    browser = world.browser()
    before = dict(browser.cookies)
    browser.post(f"{world.base}/enter", data={"token": world.token.reveal()}, timeout=10)
    assert dict(browser.cookies) != before
    assert requests.get(f"{world.base}/spiders/books", cookies=before, timeout=10).status_code == 403


def test_neither_cookies_nor_tokens_are_in_the_database_and_forged_cookies_cause_no_query(world, monkeypatch):
    browser = world.browser()
    value = next(iter(browser.cookies)).value
    world.store.close()
    stored = b"".join(path.read_bytes() for path in world.settings.data_dir.glob("pipeline.sqlite3*"))
    for secret in (value, value.partition(".")[0], world.token.reveal()):
        assert secret.encode() not in stored
    monkeypatch.setattr(console_sessions, "find", lambda *_: pytest.fail("a query"))
    for forged in (f"{'x' * 43}.{'0' * 64}", value[:-1] + ("0" if value[-1] != "0" else "1"), "", "\xff", value.partition(".")[0]):
        answer = requests.get(f"{world.base}/spiders/books", headers={"Cookie": f"{world.token.cookie_name}={forged}".encode("latin-1")}, timeout=10)
        assert answer.status_code == 403


# Wrong tokens


def test_an_address_that_guesses_tokens_must_wait_and_a_repeated_wrong_token_is_no_guess(world):
    url = f"{world.base}/enter"
    assert {requests.post(url, data={"token": "the old one"}, timeout=10).status_code for _ in range(20)} == {403}
    answers = [requests.post(url, data={"token": f"guess {number}"}, timeout=10).status_code for number in range(12)]
    assert (answers[0], answers[-1]) == (403, 429)
    limited = requests.post(url, data={"token": world.token.reveal()}, timeout=10)
    assert (limited.status_code, 0 < int(limited.headers["Retry-After"]) <= 21) == (429, True)
    assert f"Try again in {limited.headers['Retry-After']} seconds" in html.fromstring(limited.content).cssselect("[role=alert]")[0].text
    assert requests.get(f"{world.base}/?token=x", timeout=10).status_code == 429
    bearer = requests.get(f"{world.base}/spiders/books", headers={"Authorization": f"Bearer {world.token.reveal()}"}, timeout=10)
    assert bearer.status_code == 200, "scripts on this machine"
    refusals = [line for line in world.audited() if line[3] == "refused: the token is wrong"]
    assert len(refusals) == answers.count(403) + 1, "a repeated one is audited once"


def test_a_script_elsewhere_that_guesses_is_limited_and_others_are_not(world):
    world.serve(proxies=PROXY)

    def ask(path, token, address):
        return requests.get(world.base + path, headers={"Authorization": f"Bearer {token}", "X-Forwarded-For": address}, timeout=10)

    assert [ask("/status.json", f"guess {number}", "203.0.113.9").status_code for number in range(9)] == [401] * 9
    for path in ("/status.json", "/spiders/books", "/api/v1/spiders"):
        answer = ask(path, world.token.reveal(), "203.0.113.9")
        assert (answer.status_code, "Retry-After" in answer.headers) == (429, True), path
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert ask("/status.json", world.token.reveal(), "203.0.113.10").status_code == 200


# Reverse proxies


@pytest.mark.parametrize(("forwarded", "status", "source"), [
    (None, 200, "127.0.0.1"),  # a monitor on the machine of the proxy
    ("203.0.113.9", 401, "203.0.113.9"), ("203.0.113.9:4711", 401, "203.0.113.9"), ("[2001:db8::1]:443", 401, "2001:db8::1"),
    ("127.0.0.1, 203.0.113.9", 401, "203.0.113.9"),  # what the client wrote itself
    ("203.0.113.9, 10.1.2.3", 401, "203.0.113.9"),  # two proxies
    ("127.0.0.1", 200, "127.0.0.1"), ("unknown", 400, None), ("198.51.100.7", 403, None), ("", 400, None)])
def test_behind_a_trusted_proxy_the_address_of_the_client_decides(world, forwarded, status, source):
    world.serve(proxies=PROXY, networks=parse_networks(("203.0.113.0/24", "2001:db8::/32")))
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    assert requests.get(f"{world.base}/status.json", headers=headers, timeout=10).status_code == status
    if source is not None:
        world.browser(**headers)
        assert ("main", source, "sign-in", "done") in world.audited()


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
def test_without_trusted_proxies_a_forwarded_request_is_not_taken_for_one_of_this_machine(world, header):
    assert requests.get(f"{world.base}/status.json", headers={header: "127.0.0.1"}, timeout=10).status_code == 401
    assert requests.get(f"{world.base}/status.json", timeout=10).status_code == 200
    world.browser(**{header: "203.0.113.9"})
    assert world.audited()[-1][1] == "127.0.0.1", "what an unknown sender claims is not written to the audit log as the source"


@pytest.mark.parametrize(("policy", "with_token", "says"), [
    ({"public_url": PUBLIC}, True, True), ({"public_url": PUBLIC, "proxies": parse_networks(("10.0.0.9",))}, True, True),
    ({"public_url": PUBLIC}, False, False),  # anybody can write this header
    ({"public_url": PUBLIC, "proxies": PROXY}, True, False), ({}, True, False)])
def test_the_log_says_once_that_a_proxy_is_not_among_the_trusted_ones(world, caplog, policy, with_token, says):
    world.serve(**policy)
    headers = {"X-Forwarded-For": "203.0.113.9"} | ({"Authorization": f"Bearer {world.token.reveal()}"} if with_token else {})
    for _ in range(2):
        requests.get(f"{world.base}/spiders/books", headers=headers, timeout=10)
    assert ["a proxy at 127.0.0.1 forwards requests" in record.getMessage() for record in caplog.records if record.name == "pipeline"] == [True] * says


@pytest.mark.parametrize(("table", "hidden"), [
    ('public_url = "https://news.example.com"', True), ('public_url = "http://192.168.1.5:8000"', False), ("", False),
    ('public_url = "https://news.example.com"\ntrusted_proxies = ["10.0.0.5"]', False),
    ('public_url = "https://news.example.com"\ncertificate = "cert.pem"', False),
    ('public_url = "https://news.example.com"\nsocket = "heartbeat.sock"', False)])
def test_a_proxy_must_be_in_front_where_the_public_url_needs_tls_that_the_port_does_not_speak(settings, table, hidden):
    found = settings(f"[heartbeat]\n{table}\n[spiders.a]\nstart = 'https://a.example/'\nitems.fields.t = 'h1'\n")
    assert ["trusted_proxies does not name it" in str(remark) for remark in remarks_on(found) if remark.key == "heartbeat.public_url"] == [True] * hidden


@pytest.mark.parametrize(("policy", "headers", "secure"), [
    ({}, {}, False), ({}, {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}, False),
    ({"proxies": PROXY}, {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}, True),
    ({"proxies": PROXY}, {"X-Forwarded-Proto": "https, http", "X-Forwarded-For": "203.0.113.9"}, False),
    ({"public_url": PUBLIC}, {"Host": "news.example.com"}, True), ({"public_url": PUBLIC}, {}, False)])
def test_the_cookie_is_secure_where_the_browser_uses_tls(world, policy, headers, secure):
    world.serve(**policy)
    world.browser(**headers)
    cookie = world.entered.headers["Set-Cookie"]
    assert (cookie.startswith("__Host-"), "; Secure" in cookie) == (secure, secure)
    for attribute in ("HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=86400"):
        assert attribute in cookie
    assert "Domain" not in cookie


def test_a_form_of_the_public_url_is_accepted_whatever_host_the_proxy_sends(world):
    world.serve(proxies=PROXY, public_url=PUBLIC)
    browser = world.browser()
    proof = world.proof(browser)
    for origin in ("https://evil.example.com", "http://news.example.com", "https://news.example.com:444", "null"):
        assert world.post(browser, "/spiders/books/pause", proof, Origin=origin).status_code == 403, origin
    assert world.post(browser, "/spiders/books/pause", proof, Origin=PUBLIC).status_code == 303


def test_every_address_cannot_be_a_trusted_proxy(settings):
    with pytest.raises(SettingsError, match="any client could then claim any address"):
        settings('[heartbeat]\ntrusted_proxies = ["0.0.0.0/0"]\n')
    assert settings('[heartbeat]\ntrusted_proxies = ["127.0.0.1", "10.0.0.0/8"]\n').heartbeat.trusted_proxies


@pytest.mark.parametrize("end", ["revoke", "sign out"])
def test_a_stream_of_events_ends_with_the_token_or_the_session_that_began_it(world, monkeypatch, end):
    monkeypatch.setattr(live_rows, "EVERY_S", 0.05)
    token = api_tokens.create(world.store, "ci", "read", now=NOW)
    browser = world.browser(token)
    with browser.get(f"{world.base}/events", stream=True, timeout=10) as events:
        lines = events.iter_lines()
        next(lines)
        if end == "revoke":
            api_tokens.revoke(world.store, "ci", now=NOW)
        else:
            assert world.post(browser, "/sign-out", world.proof(browser)).status_code == 303
        assert len(list(islice(lines, 200))) < 200, "the stream goes on"
