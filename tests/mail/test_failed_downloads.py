"""A file that could not be downloaded is told in the digest: once, with its reason."""

from __future__ import annotations

import email
from email.policy import default
from pathlib import Path

from tests.mail.conftest import text_of
from tests.servers.files import file_server
from tests.servers.program import Program

SETTINGS = """
[mail]
from = "Pipeline <pipeline@example.com>"
[spiders.reports]
start = "{url}"
download = ["a[href$='.pdf']"]
[spiders.reports.downloads]
attempts = 1
[digests.morning]
spiders = ["reports"]
to = ["me@example.com"]
schedule = "0 8 * * *"
"""


def mails(folder: Path) -> list[str]:
    found = sorted((folder / "var" / "mail" / "new").glob("*"))
    read = [email.message_from_bytes(path.read_bytes(), policy=default) for path in found]
    return [f"{mail['Subject']}\n{text_of(mail)}" for mail in read]


def test_a_failed_download_is_told_once_with_its_reason(program: Program, tmp_path: Path) -> None:
    with file_server() as server:
        start = server.put("/", b'<title>Reports</title><a href="/a.pdf">a</a> <a href="/b.pdf">b</a>', content_type="text/html")
        server.put("/a.pdf", b"%PDF-1.4 a", content_type="application/pdf")
        (tmp_path / "settings.toml").write_text(SETTINGS.format(url=start))
        program.run("run", "reports")
        program.run("digest", "morning", "--send")
        first, = mails(tmp_path)
        assert "1 file could not be downloaded — " in first
        assert "/b.pdf: " in first
        assert "404" in first
        program.run("run", "reports")
        program.run("digest", "morning", "--send")
        assert len(mails(tmp_path)) == 1
