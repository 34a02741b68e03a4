"""Tests with real software: Django's admin and httpbin behind real proxies, a real SMTP server."""

from __future__ import annotations

import csv
import email
import email.policy
import hashlib
import io
import json
import random
import sys
import zipfile
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from tests.servers.authority import Authority
from tests.servers.django_admin import PASSWORD, USER, django_admin
from tests.servers.program import Program
from tests.servers.proxies import start_squid
from tests.servers.smtp import SmtpServer
from tests.servers.wsgi import start_wsgi

BIG_BYTES = 200_000_000
FILES = {"报告 2026.csv": "id,价格\n1,5\n".encode(), "notes.txt": b"plain\r\ntext"}


class Admin:
    """Django's admin with 120 groups in it, files behind its login, and a log of who asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        application = django_admin(folder)
        self.big = folder / "big.bin"
        block = random.Random(7).randbytes(1_000_000)
        with self.big.open("wb") as file:
            for number in range(BIG_BYTES // len(block)):
                file.write(number.to_bytes(4, "big") + block[4:])
        self.vias: list[str] = []
        self._add_pages()

        def logged(environ: dict[str, Any], start: Any) -> Any:
            self.vias.append(environ.get("HTTP_VIA", ""))
            return application(environ, start)

        self.application = logged

    def _add_pages(self) -> None:
        from django.apps import apps
        from django.contrib.admin.views.decorators import staff_member_required
        from django.http import FileResponse, HttpResponse
        from django.urls import path
        groups = apps.get_model("auth", "Group").objects
        groups.bulk_create([apps.get_model("auth", "Group")(name=f"Gruppe {n} 组") for n in range(120)])

        @staff_member_required
        def listing(request: Any) -> Any:
            links = "".join(f'<li><a class=file href="/files/{name}">{name}</a>' for name in [*FILES, "big.bin"])
            return HttpResponse(f"<ul>{links}</ul>")

        @staff_member_required
        def file(request: Any, name: str) -> Any:
            if name == "big.bin":
                response = FileResponse(self.big.open("rb"), as_attachment=True, filename=name)
                response.block_size = 1_000_000
                return response
            response = HttpResponse(FILES[name], content_type="text/csv" if name.endswith("csv") else "text/plain")
            from urllib.parse import quote
            response["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name)}"
            return response

        patterns = sys.modules["tests_django_admin_urls"].urlpatterns
        patterns += [path("files/", listing), path("files/<str:name>", file)]


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Admin:
    return Admin(tmp_path_factory.mktemp("admin"))


@pytest.fixture
def admin_url(admin: Admin) -> Iterator[str]:
    with start_wsgi(admin.application) as url:
        yield url


SPIDER = """
    [proxies]
    office = "http://me:pr0xy-pass@{proxy}"
    [spiders.admin]
    start = ["{url}/admin/auth/group/", "{url}/files/"]
    follow = [".paginator a"]
    download = ["a.file"]
    proxy = "office"
    [spiders.admin.login]
    url = "{url}/admin/login/"
    fields = {{ username = "{user}", password = {{ env = "ADMIN_PASSWORD" }} }}
    check = "#logout-form"
    [spiders.admin.items]
    each = "#result_list tbody tr"
    key = ["name"]
    [spiders.admin.items.fields]
    name = "th a"
    url = "th a::attr(href)"
    """

MAIL = """
    [mail]
    from = "Crawler <crawler@example.com>"
    host = "localhost"
    port = {port}
    security = "{security}"
    user = "crawler"
    password = {{ env = "MAIL_PASSWORD" }}
    ca_file = "{ca_file}"
    [digests.over-{security}]
    spiders = ["admin"]
    to = ["Ärzte <alice@example.com>", "bob@example.com"]
    attach = ["csv", "xlsx", "downloads"]
    """


@pytest.mark.needs("squid")
def test_django_admin_through_a_proxy_to_an_inbox(program: Program, authority: Authority, admin: Admin, admin_url: str,
                                                  ) -> None:
    program.environment |= {"ADMIN_PASSWORD": PASSWORD, "MAIL_PASSWORD": "m4il-secret"}
    with start_squid("me", "pr0xy-pass") as proxy:
        spider = SPIDER.format(proxy=proxy, url=admin_url, user=USER)
        program.write(spider)
        run = program.run("run", "admin", "--json", timeout_s=180)
    assert run.returncode == 0, run.stdout + run.stderr
    progress = json.loads(run.stdout)[0]["progress"]
    assert (progress["new"], progress["downloads"]) == (120, 3)
    folder = program.data / "downloads" / "admin"
    with (folder / "big.bin").open("rb") as file, admin.big.open("rb") as source:
        assert hashlib.file_digest(file, "sha256").digest() == hashlib.file_digest(source, "sha256").digest()
    for name, content in FILES.items():
        assert (folder / name).read_bytes() == content

    for security in ("starttls", "tls"):
        tls = authority.context(host="localhost")
        with SmtpServer(users={"crawler": "m4il-secret"}, tls=tls, implicit=security == "tls") as server:
            program.write(spider + MAIL.format(port=server.port, security=security, ca_file=authority.ca_file))
            sent = program.run("digest", f"over-{security}", "--send")
        assert sent.returncode == 0, sent.stdout + sent.stderr
        assert server.logins == ["crawler"]
        (received,) = server.received
        assert sorted(received.recipients) == ["alice@example.com", "bob@example.com"]
        read_back(received.content)


def read_back(content: bytes) -> None:
    """Everything is byte for byte what it should be, and no secret is in it."""
    message = email.message_from_bytes(content, policy=email.policy.SMTP)
    assert isinstance(message, EmailMessage)
    assert "120 new" in message["Subject"]
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    assert "Gruppe 0 组" in text.get_content()
    assert "Gruppe 0 组" in html.get_content()
    attached = {part.get_filename(): part.get_payload(decode=True) for part in message.iter_attachments()}
    for name, expected in FILES.items():
        assert attached[name] == expected
    assert "big.bin" not in attached
    assert "big.bin" in text.get_content()  # larger than a mail may be: named instead
    tables = {name: body for name, body in attached.items() if name not in FILES}
    (table,) = [body for name, body in tables.items() if name.endswith(".csv")]
    rows = list(csv.DictReader(table.decode("utf-8-sig").splitlines()))
    assert {row["name"] for row in rows} == {f"Gruppe {n} 组" for n in range(120)}
    (sheet,) = [body for name, body in tables.items() if name.endswith(".xlsx")]
    with zipfile.ZipFile(io.BytesIO(sheet)) as archive:
        assert archive.testzip() is None
        assert "Gruppe 119 组" in archive.read("xl/worksheets/sheet1.xml").decode()
    assert all(secret not in content for secret in (b"m4il-secret", b"pr0xy", PASSWORD.encode()))


def test_every_call_of_the_course_against_httpbin(program: Program) -> None:
    from httpbin import app
    with start_wsgi(app) as url:
        program.environment["BASIC"] = "pass word"
        program.write(f"""
            [spiders.course]
            robots = false
            download = [".//a[starts-with(@href, '/image/png')]"]
            start = [
                {{ url = "{url}/get", params = {{ key1 = "value1", key2 = ["a", "b"], none = "" }}, headers = {{ X-Course = "net" }} }},
                {{ url = "{url}/post", method = "POST", form = [["key1", "value1"], ["key1", "value2"]] }},
                {{ url = "{url}/anything", method = "POST", json = {{ some = "data" }} }},
                {{ url = "{url}/gzip" }},
                {{ url = "{url}/basic-auth/user/pass%20word", auth = {{ user = "user", password = {{ env = "BASIC" }} }} }},
                {{ url = "{url}/redirect/3" }},
                {{ url = "{url}/cookies/set?number=123456789" }},
                {{ url = "{url}/status/418" }},
            ]
            [spiders.course.items]
            key = ["url"]
            [spiders.course.items.fields]
            url = {{ page = "url" }}
            status = {{ page = "status" }}
            server = {{ header = "Content-Type" }}
            body = {{ jmes = "@" }}
            """)
        first = program.run("run", "course", "--json")
        assert first.returncode == 0, first.stdout + first.stderr
        found = {json.loads(line)["url"].removeprefix(url): json.loads(line)
                 for line in program.run("items", "course").stdout.splitlines()}
        bodies = {path: json.loads(item["body"]) for path, item in found.items() if item["body"]}
        get = bodies["/get?key1=value1&key2=a&key2=b"]
        assert get["args"] == {"key1": "value1", "key2": ["a", "b"]}
        assert get["headers"]["X-Course"] == "net"
        assert bodies["/post"]["form"] == {"key1": ["value1", "value2"]}
        assert bodies["/anything"]["json"] == {"some": "data"}
        assert bodies["/gzip"]["gzipped"] is True
        assert bodies["/basic-auth/user/pass%20word"]["authenticated"] is True
        assert "/get" in bodies  # where three redirects lead
        assert bodies["/cookies"] == {"cookies": {"number": "123456789"}}
        assert {item["status"] for path, item in found.items() if path != "/status/418"} == {200}
        assert all(item["server"] == "application/json" for path, item in found.items() if path in bodies)
