"""Tests of the demo site."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import re
import stat
import time

import pytest
import requests
from lxml import html

from pipeline.demo import DemoSite
from pipeline.demo.sessions import SessionStore
from pipeline.errors import UsageError


def page(browser, url, **options):
    response = browser.get(url, timeout=10, **options)
    assert response.status_code == 200, response.text
    return html.fromstring(response.content)


def log_in(browser, site, password_file, **changed):
    form = page(browser, f"{site.url}/login").xpath("//form[@method='post']")[0]
    fields = dict(form.form_values()) | {"username": "demo", "password": password_file.read_text().strip()} | changed
    return browser.post(site.url + form.action, data=fields, timeout=10)


def catalogue(browser, site):
    """Every product by its link: name, price, stock."""
    found, url = {}, f"{site.url}/catalogue"
    pages = 0
    while url:
        tree = page(browser, url)
        pages += 1
        for product in tree.cssselect("article.product"):
            link, = product.cssselect("h2 a")
            found[link.get("href")] = (link.text, product.cssselect(".price")[0].text,
                                       product.cssselect(".stock")[0].text)
        following = tree.cssselect("li.next a")
        url = site.url + following[0].get("href") if following else None
    assert pages == 5
    return found


def test_the_catalogue_is_behind_the_login(site, browser):
    for path in ("/", "/catalogue", "/catalogue?page=3", "/product/1", "/documents", "/files/report.pdf", "/offers"):
        response = browser.get(site.url + path, timeout=10)
        assert response.url == f"{site.url}/login"
        assert "logout" not in response.text


def test_a_login_needs_the_forms_token_and_the_password(site, browser, password_file):
    assert "out of date" in log_in(browser, site, password_file, csrf_token="guess").text
    assert "Wrong user" in log_in(browser, site, password_file, password="guess").text
    assert "Wrong user" in log_in(browser, site, password_file, username="nobody").text
    assert "out of date" in requests.post(f"{site.url}/login", data={"username": "demo"}, timeout=10).text
    assert "article" in log_in(browser, site, password_file).text
    assert page(browser, f"{site.url}/catalogue").cssselect("a[href*='logout']")


def test_a_token_of_another_session_does_not_pass(site, browser, password_file):
    with requests.Session() as other:
        token = page(other, f"{site.url}/login").xpath("//input[@name='csrf_token']/@value")[0]
    assert log_in(browser, site, password_file, csrf_token=token).status_code == 403


def test_the_login_page_has_a_decoy_form_before_the_right_one(site, browser):
    forms = page(browser, f"{site.url}/login").xpath("//form")
    assert [form.get("class") for form in forms] == ["search", "login"]


def test_a_login_changes_the_cookie_and_logging_out_ends_it(site, browser, password_file):
    page(browser, f"{site.url}/login")
    before = browser.cookies["demo_session"]
    log_in(browser, site, password_file)
    inside = browser.cookies["demo_session"]
    assert inside != before
    browser.get(f"{site.url}/logout", timeout=10)
    browser.cookies.set("demo_session", inside)
    assert browser.get(f"{site.url}/catalogue", timeout=10).url.endswith("/login")


def test_the_password_is_kept_and_only_its_owner_reads_it(run, site, password_file):
    password = password_file.read_text()
    assert len(password.strip()) >= 16
    assert stat.S_IMODE(password_file.stat().st_mode) == 0o600
    again = DemoSite(host="127.0.0.1", port=0, password_file=password_file)
    run(again.start())
    run(again.stop())
    assert password_file.read_text() == password


def test_five_pages_of_eight_products(site, browser, password_file):
    log_in(browser, site, password_file)
    found = catalogue(browser, site)
    assert len(found) == 40
    for name, price, stock in found.values():
        assert name
        assert re.fullmatch(r"€\d+\.\d\d", price)
        assert re.fullmatch(r"\d+ in stock|sold out", stock)
    link, (name, price, _) = next(iter(found.items()))
    detail = page(browser, site.url + link)
    assert detail.cssselect("h1")[0].text == name
    assert detail.cssselect(".price")[0].text == price


def test_the_next_login_sees_new_changed_and_gone_products(site, browser, password_file):
    log_in(browser, site, password_file)
    before = catalogue(browser, site)
    assert catalogue(browser, site) == before, "one session sees one catalogue"
    log_in(browser, site, password_file)
    after = catalogue(browser, site)
    assert len(before.keys() - after.keys()) == 1
    assert len(after.keys() - before.keys()) == 2
    changed = [link for link in before.keys() & after.keys() if before[link] != after[link]]
    assert 3 <= len(changed) <= 15


def test_a_restart_goes_on_with_the_next_catalogue(run, site, browser, password_file):
    log_in(browser, site, password_file)
    before = catalogue(browser, site)
    again = DemoSite(host="127.0.0.1", port=0, password_file=password_file)
    run(again.start())
    with requests.Session() as other:
        log_in(other, again, password_file)
        assert catalogue(other, again) != before
    run(again.stop())


def test_one_page_is_gzip_and_one_is_gbk(site, browser, password_file):
    log_in(browser, site, password_file)
    raw = browser.get(f"{site.url}/offers", headers={"Accept-Encoding": "gzip"}, stream=True, timeout=10)
    assert raw.headers["Content-Encoding"] == "gzip"
    assert b"cherry desk" in gzip.decompress(raw.raw.read(decode_content=False))
    plain = browser.get(f"{site.url}/offers", headers={"Accept-Encoding": "identity"}, timeout=10)
    assert "Content-Encoding" not in plain.headers
    chinese = browser.get(f"{site.url}/zh", timeout=10)
    assert chinese.headers["Content-Type"] == "text/html; charset=gbk"
    assert "青花瓷茶壶".encode("gbk") in chinese.content
    tree = html.fromstring(chinese.text)
    assert [link.text for link in tree.cssselect("article.product h2 a")] == ["青花瓷茶壶"]
    assert tree.cssselect(".price")[0].text.startswith("€")


def test_documents_link_files_of_some_megabytes(site, browser, password_file):
    log_in(browser, site, password_file)
    links = page(browser, f"{site.url}/documents").xpath("//a[starts-with(@href, '/files/')]/@href")
    assert links == ["/files/report.pdf", "/files/catalogue.csv", "/files/sample.bin"]
    report = browser.get(site.url + links[0], timeout=10)
    assert report.content.startswith(b"%PDF-")
    assert report.content.endswith(b"%%EOF\n")
    assert 3_000_000 < len(report.content) == int(report.headers["Content-Length"])
    assert browser.get(site.url + links[0], timeout=10).content == report.content
    assert len(browser.get(site.url + links[2], timeout=10).content) == 1_000_000


def test_the_pdfs_table_points_at_its_objects(site, browser, password_file):
    log_in(browser, site, password_file)
    body = browser.get(f"{site.url}/files/report.pdf", timeout=10).content
    start = int(re.search(rb"startxref\n(\d+)", body)[1])
    assert body[start:start + 4] == b"xref"
    offsets = [int(found) for found in re.findall(rb"(\d{10}) 00000 n", body[start:])]
    for number, offset in enumerate(offsets, 1):
        assert body[offset:].startswith(b"%d 0 obj" % number)


def test_the_csv_has_a_chinese_name_and_the_catalogue(site, browser, password_file):
    log_in(browser, site, password_file)
    response = browser.get(f"{site.url}/files/catalogue.csv", timeout=10)
    assert "filename*=UTF-8''%E7%9B%AE%E5%BD%95.csv" in response.headers["Content-Disposition"]
    rows = list(csv.reader(io.StringIO(response.content.decode("utf-8-sig"))))
    assert len(rows) == 41


@pytest.mark.parametrize(("wanted", "part"), [
    ("bytes=0-0", (0, 1)), ("bytes=5-70000", (5, 70001)), ("bytes=999990-", (999990, 1_000_000)),
    ("bytes=-7", (999993, 1_000_000)), ("bytes=65535-65537", (65535, 65538)), ("bytes=10-9999999", (10, 1_000_000)),
])
def test_a_part_of_a_file_is_that_part(site, browser, password_file, wanted, part):
    start, stop = part
    log_in(browser, site, password_file)
    whole = browser.get(f"{site.url}/files/sample.bin", timeout=10).content
    response = browser.get(f"{site.url}/files/sample.bin", headers={"Range": wanted}, timeout=10)
    assert response.status_code == 206
    assert response.headers["Content-Range"] == f"bytes {start}-{stop - 1}/1000000"
    assert response.content == whole[start:stop]


def test_parts_across_the_ends_of_head_and_filler_are_right(site, browser, password_file):
    log_in(browser, site, password_file)
    whole = browser.get(f"{site.url}/files/report.pdf", timeout=10).content
    for start in (0, 400, 640, 3_000_500, len(whole) - 3):
        response = browser.get(f"{site.url}/files/report.pdf", headers={"Range": f"bytes={start}-"}, timeout=10)
        assert response.content == whole[start:]


def test_a_range_of_another_version_gets_the_whole_file(site, browser, password_file):
    log_in(browser, site, password_file)
    url = f"{site.url}/files/sample.bin"
    headers = browser.head(url, timeout=10).headers
    for condition, status in ((headers["ETag"], 206), (headers["Last-Modified"], 206), ('"other"', 200),
                              ("Thu, 01 Jan 2015 00:00:00 GMT", 200)):
        response = browser.get(url, headers={"Range": "bytes=5-", "If-Range": condition}, timeout=10)
        assert response.status_code == status, condition


def test_an_impossible_range_is_refused_and_a_senseless_one_ignored(site, browser, password_file):
    log_in(browser, site, password_file)
    url = f"{site.url}/files/sample.bin"
    impossible = browser.get(url, headers={"Range": "bytes=1000000-"}, timeout=10)
    assert impossible.status_code == 416
    assert impossible.headers["Content-Range"] == "bytes */1000000"
    assert browser.get(url, headers={"Range": "bytes=9-3"}, timeout=10).status_code in (200, 416)
    assert browser.get(url, headers={"Range": "lines=1-2"}, timeout=10).status_code == 200


def test_what_is_current_is_not_sent_again(site, browser, password_file):
    log_in(browser, site, password_file)
    url = f"{site.url}/files/report.pdf"
    headers = browser.head(url, timeout=10).headers
    for condition in ({"If-None-Match": headers["ETag"]}, {"If-None-Match": f"W/{headers['ETag']}"},
                      {"If-Modified-Since": headers["Last-Modified"]}):
        response = browser.get(url, headers=condition, timeout=10)
        assert response.status_code == 304
        assert response.content == b""
        assert response.headers["ETag"] == headers["ETag"]
    assert browser.get(url, headers={"If-None-Match": '"other"'}, timeout=10).status_code == 200


def test_the_catalogue_file_changes_with_the_catalogue_and_the_report_does_not(site, browser, password_file):
    tags = []
    for _ in range(2):
        log_in(browser, site, password_file)
        tags.append({name: browser.head(f"{site.url}/files/{name}", timeout=10).headers["ETag"]
                     for name in ("report.pdf", "catalogue.csv")})
    assert tags[0]["report.pdf"] == tags[1]["report.pdf"]
    assert tags[0]["catalogue.csv"] != tags[1]["catalogue.csv"]


def test_what_a_visitor_types_is_escaped(site, browser, password_file):
    log_in(browser, site, password_file)
    response = browser.get(f"{site.url}/search", params={"q": "<script>alert(1)</script>"}, timeout=10)
    assert "<script" not in response.text
    assert page(browser, f"{site.url}/search", params={"q": "lamp"}).cssselect("article.product")


@pytest.mark.parametrize("path", ["/catalogue?page=0", "/catalogue?page=6", "/catalogue?page=x", "/product/0",
                                  "/product/99999", "/files/nothing", "/files/..%2f..%2fetc%2fpasswd", "/nothing"])
def test_a_missing_page_is_a_plain_404(site, browser, password_file, path):
    log_in(browser, site, password_file)
    response = browser.get(site.url + path, timeout=10)
    assert response.status_code == 404
    assert response.text == "404 Not Found\n"


def test_robots_txt_disallows_only_the_logout(site, browser):
    assert browser.get(f"{site.url}/robots.txt", timeout=10).text == "User-agent: *\nDisallow: /logout\n"


def test_a_busy_port_is_one_clear_message(run, site, password_file):
    port = int(site.url.rpartition(":")[2])
    second = DemoSite(host="127.0.0.1", port=port, password_file=password_file)
    with pytest.raises(UsageError) as caught:
        run(second.start())
    assert str(caught.value) == (f"demo: port {port} on 127.0.0.1 is in use; "
                                 "stop the other program, or set another [demo] port in settings.toml")


def test_a_folder_that_cannot_be_made_is_one_clear_message(run, tmp_path):
    (tmp_path / "file").write_text("")
    site = DemoSite(host="127.0.0.1", port=0, password_file=tmp_path / "file" / "password")
    with pytest.raises(UsageError, match="the password file cannot be used"):
        run(site.start())


def test_a_session_nobody_uses_ends():
    now = 0.0
    sessions = SessionStore(idle_s=60, clock=lambda: now)
    session = sessions.create(1)
    now = 59.0
    assert sessions.find(session.key) is session
    now = 118.0
    assert sessions.find(session.key) is session
    now = 179.0
    assert sessions.find(session.key) is None


def test_many_sessions_take_bounded_memory():
    sessions = SessionStore(idle_s=60, clock=time.monotonic)
    first = sessions.create()
    for _ in range(1000):
        sessions.create()
    assert sessions.find(first.key) is None


def test_a_large_body_does_not_hold_up_the_loop(run, site, browser, password_file):
    log_in(browser, site, password_file)
    longest = run(_longest_pause_while(lambda: browser.get(f"{site.url}/files/report.pdf", timeout=10)))
    assert longest < 0.25


async def _longest_pause_while(work):
    loop = asyncio.get_running_loop()
    done = loop.run_in_executor(None, work)
    longest = 0.0
    while not done.done():
        before = loop.time()
        await asyncio.sleep(0.001)
        longest = max(longest, loop.time() - before)
    assert len((await done).content) > 3_000_000
    return longest
