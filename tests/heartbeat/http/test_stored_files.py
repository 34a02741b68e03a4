"""Tests of the stored files that the pages offer.

Only with the token, only what mails link to, never shown in the browser.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
import requests
from lxml import html
from sqlalchemy import insert, update

from pipeline.heartbeat.access import AccessPolicy
from pipeline.heartbeat.connections.limits import ServerLimits
from pipeline.heartbeat.http.operations.context import OperationsContext
from pipeline.heartbeat.token import Token
from pipeline.settings import load
from pipeline.store import open_store
from pipeline.store.database.schema import download_files, downloads
from tests.archive.exchanges import exchange
from tests.archive.filled import add_segment
from tests.heartbeat.conftest import NOW
from tests.servers.program import eventually
from tests.store.files.test_file_stores import object_storage

TOKEN = Token("t0ken" * 8)
CONTENT = b"0123456789" * 1000
NAME = 'Größe "1"; a\u00a0b.pdf'
PDF = "downloads/books/größe 1.pdf"
PAGE = f"pages/books/{'a1' * 16}-site.test_1.html"
LINK = f"pages/books/{'c3' * 16}-link.html"
PICTURE_OF_PAGE = f"screenshots/shop/{'b2' * 16}-site.test_1.png"
COMPRESSED = f"{PDF}.gz"  # another file, with a name that web servers take for a compressed copy
OFFERED = [PDF, PAGE, PICTURE_OF_PAGE, "messages/12-morning-2026-11-22.csv", "messages/12-2-morning-2026-11-22-pages.zip"]
OTHERS = ["jars/books.txt", "pipeline.sqlite", "heartbeat-token", "messages/12-1.eml", "messages/12-1.html", "pages/login-books.html", "screenshots/shop/x.png",
          "downloads/books/part.pdf.part", "downloads/books/doomed.pdf", COMPRESSED, "logs/runs/1.log"]

RANGES_AND_CONDITIONS = [
    ({"Range": "bytes=9990-"}, 206, CONTENT[9990:]), ({"Range": "bytes=0-9"}, 206, CONTENT[:10]), ({"Range": "bytes=-3"}, 206, CONTENT[-3:]),
    ({"Range": "bytes=20000-"}, 416, b""), ({"Range": "bytes=9-1"}, 416, b""), ({"Range": "bytes=5-99999"}, 206, CONTENT[5:]),
    ({"If-None-Match": "{etag}"}, 304, b""), ({"If-None-Match": '"other"'}, 200, CONTENT), ({"If-Modified-Since": "{date}"}, 304, b""),
    ({"If-Match": '"other"'}, 412, b""), ({"If-Match": "{etag}", "Range": "bytes=0-0"}, 206, b"0"),
    ({"If-Range": "{etag}", "Range": "bytes=1-1"}, 206, b"1"), ({"If-Range": '"other"', "Range": "bytes=1-1"}, 200, CONTENT),
    ({"If-Range": "{date}", "Range": "bytes=1-1"}, 206, b"1"), ({"If-Unmodified-Since": "Thu, 01 Jan 2015 00:00:00 GMT"}, 412, b"")]
"""Headers of a request, and the status and the content of the answer (RFC 9110, 13 and 14)."""


@pytest.fixture
def limits():
    return ServerLimits()


@pytest.fixture
def storage():
    return None  # in data_dir


@pytest.fixture
def server(start, tmp_path, limits, storage):
    (tmp_path / "settings.toml").write_text("")
    settings = load(tmp_path / "settings.toml")
    store = open_store(settings.data_dir, storage=storage)
    for key in (*OFFERED, *OTHERS):
        if not store.files.exists(key):
            store.files.write(key, CONTENT)
    with store.write() as connection:
        for key in (PDF, "downloads/books/doomed.pdf"):
            number = connection.execute(insert(downloads).values(
                spider="books", url=f"http://site.test/{key}", pass_id=1, state="done", requested_at=NOW, file_key=key).returning(downloads.c.id)).scalar_one()
            connection.execute(insert(download_files).values(
                download_id=number, spider="books", url="http://site.test/", key=key, name=NAME, size_bytes=len(CONTENT), sha256="0" * 64,
                content_type="text/html", fetched_at=NOW))
        connection.execute(update(download_files).where(download_files.c.key.like("%doomed%")).values(doomed_at=NOW))
    yield start(access=AccessPolicy(TOKEN), actions=OperationsContext(store, lambda: settings, lambda: NOW), limits=limits)
    store.close()


def get(server, path, **headers):
    return requests.get(f"http://127.0.0.1:{server.address[1]}{path}", headers={"Authorization": f"Bearer {TOKEN.reveal()}", **headers},
                        timeout=10, allow_redirects=False)


@pytest.mark.parametrize("run", ["uvloop"], indirect=True)
def test_files_that_mails_link_to_are_saved_by_the_browser_and_no_others_are_offered(server, tmp_path) -> None:
    page = next(tmp_path.rglob(PAGE.rpartition("/")[2]))
    page.with_name(LINK.rpartition("/")[2]).symlink_to(tmp_path / "settings.toml")
    for key in OFFERED:
        answer = get(server, f"/files/{quote(key)}")
        assert (answer.status_code, answer.content) == (200, CONTENT)
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"].startswith("attachment; filename*=UTF-8''")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"].startswith("sandbox;")
    assert quote(NAME, safe="") in get(server, f"/files/{quote(PDF)}").headers["Content-Disposition"]
    for key in OTHERS:
        assert get(server, f"/files/{quote(key)}").status_code == 404, key
    for path in ("/files/../heartbeat-token", "/files/%2e%2e/heartbeat-token", "/files/%2fetc/passwd", "/files//etc/passwd",
                 "/files/downloads/books/..%2f..%2fheartbeat-token", "/files/a%00b", "/files/messages/12-a%2f..%2f..%2fjars%2fx.csv", "/files/",
                 f"/files/{LINK}", f"/pictures/{LINK}"):
        assert get(server, path).status_code == 404, path


@pytest.mark.parametrize("run", ["asyncio"], indirect=True)
def test_a_part_of_a_file_can_be_requested(server) -> None:
    answer = get(server, f"/files/{quote(PDF)}", Range="bytes=9990-")
    assert (answer.status_code, answer.content, answer.headers["Content-Range"]) == (206, CONTENT[9990:], "bytes 9990-9999/10000")
    assert get(server, f"/files/{quote(PDF)}", Range="bytes=20000-").status_code == 416


@pytest.mark.parametrize("limits", [ServerLimits(http_idle_s=0.01)])
def test_a_client_that_reads_a_large_file_for_longer_than_an_idle_connection_may_last_gets_it_all(server, tmp_path) -> None:
    large = next(tmp_path.rglob("12-morning-2026-11-22.csv"))
    with large.open("r+b") as file:
        file.truncate(40_000_000)
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {TOKEN.reveal()}"
        url = f"http://127.0.0.1:{server.address[1]}/files/messages/{large.name}"
        with session.get(url, timeout=10, stream=True) as answer:
            assert sum(map(len, answer.iter_content(16_384))) == 40_000_000
    # On a connection of its own: the server may be about to close the other one, which is idle.
    assert requests.head(url, headers={"Authorization": f"Bearer {TOKEN.reveal()}"}, timeout=10).headers["Content-Length"] == "40000000"


@pytest.mark.parametrize("run", ["uvloop"], indirect=True)
def test_a_file_needs_the_token_and_a_link_from_another_site_asks_again_with_the_cookie(server) -> None:
    server_url = f"http://127.0.0.1:{server.address[1]}"
    url = f"{server_url}/files/{quote(PDF)}"
    answer = requests.get(url, timeout=10)
    assert answer.status_code == 403
    assert 'http-equiv="refresh"' not in answer.text
    followed = requests.get(url, headers={"Sec-Fetch-Site": "cross-site"}, timeout=10)
    assert followed.status_code == 403
    assert '<meta http-equiv="refresh" content="0">' in followed.text
    assert CONTENT not in followed.content
    form, = html.fromstring(answer.content).forms
    entered = requests.post(f"{server_url}{form.action}", data={"token": TOKEN.reveal()}, timeout=10, allow_redirects=False)
    assert (entered.status_code, entered.headers["Location"]) == (303, f"/files/{quote(PDF)}")


@pytest.mark.parametrize("run", ["uvloop"], indirect=True)
@pytest.mark.parametrize("path", ["//evil.test/x", "/\\evil.test", "https://evil.test/", "", "x", "/a\r\nSet-Cookie: x=1"])
def test_entering_the_token_never_leads_to_another_server(path, server) -> None:
    answer = requests.post(f"http://127.0.0.1:{server.address[1]}/enter", params={"next": path}, data={"token": TOKEN.reveal()}, timeout=10,
                           allow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["Location"] in ("/", "/a%0D%0ASet-Cookie%3A%20x%3D1")
    assert answer.headers["Set-Cookie"].startswith("pipeline")


class TestInAnObjectStore:
    """The same files, streamed from an object store."""

    @pytest.fixture
    def storage(self, s3):
        return object_storage(s3)

    @pytest.mark.parametrize("run", ["uvloop"], indirect=True)
    def test_files_ranges_and_conditions_are_answered_as_from_the_disk(self, server, s3) -> None:
        path = f"/files/{quote(PDF)}"
        whole = get(server, path)
        assert (whole.status_code, whole.content, whole.headers["Accept-Ranges"]) == (200, CONTENT, "bytes")
        for template, status, content in RANGES_AND_CONDITIONS:
            headers = {name: value.format(etag=whole.headers["ETag"], date=whole.headers["Last-Modified"]) for name, value in template.items()}
            answer = get(server, path, **headers)
            assert (answer.status_code, answer.content) == (status, content), headers
        for key in OTHERS:
            assert get(server, f"/files/{quote(key)}").status_code == 404, key
        with s3.failing("refuse"):
            assert get(server, path).status_code == 503

    @pytest.mark.parametrize("run", ["uvloop"], indirect=True)
    def test_an_archived_page_is_read_and_a_failure_is_said_at_once(self, server, s3, tmp_path) -> None:
        store = open_store(tmp_path / "var", storage=object_storage(s3))
        file = add_segment(store, [exchange("/terms", at=NOW)], now=NOW)
        path = f"/archive/books/page?url={quote('https://www.books.example/terms', safe='')}"
        assert "<li>One" in get(server, path).text
        assert get(server, f"/archive/books/files/{file.id}").content == store.files.local(file.key).read_bytes()
        with s3.failing("refuse"):
            answer = get(server, path)
        assert (answer.status_code, "the object store cannot be used" in answer.text) == (503, True)
        store.close()

    @pytest.mark.parametrize("run", ["uvloop"], indirect=True)
    def test_other_pages_are_shown_while_many_files_wait_for_an_object_store_that_does_not_answer(self, server, s3) -> None:
        before = s3.connections
        with ThreadPoolExecutor(40) as pool:
            with s3.failing("hang"):
                waiting = [pool.submit(get, server, f"/files/{quote(PDF)}") for _ in range(40)]
                eventually(lambda: s3.connections >= before + 4)
                assert get(server, "/outbox").status_code == 200
                assert not any(each.done() for each in waiting), "the page waited for the files"
            assert {each.result().status_code for each in waiting} <= {200, 503}
