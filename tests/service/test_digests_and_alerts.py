"""Tests of digests and alerts of a real service, from the settings to the Maildir."""

from __future__ import annotations

import email
import time
from email.message import EmailMessage
from email.policy import default

from tests.servers.pages import Answer, PageSite
from tests.servers.program import Program, eventually
from tests.servers.smtp import Fault, SmtpServer

SPIDER = """
[spiders.shop]
schedule = "every 1s"
start = ["{url}/"]
robots = false
retries = 0
[spiders.shop.items]
each = "p"
key = ["name"]
[spiders.shop.items.fields]
name = "b"
"""


def mails(program: Program) -> list[EmailMessage]:
    """What arrived, in the order in which it did."""
    found = sorted((program.data / "mail" / "new").glob("*"), key=lambda path: path.stat().st_mtime_ns)
    return [email.message_from_bytes(path.read_bytes(), policy=default) for path in found]


def test_an_alert_arrives_when_a_spider_keeps_failing_and_another_when_it_is_over(program: Program) -> None:
    with PageSite({"/": Answer("down", 500)}) as site:
        program.write(SPIDER.format(url=site.url) + '[alerts]\nto = ["ops@example.com"]\nafter = 2\nevery = "1s"\n')
        program.serve()
        first, = eventually(lambda: mails(program), within_s=60)
        assert first["Subject"].startswith("[alert] shop failed ")
        site.pages["/"] = Answer("<p><b>Book</b></p>")
        eventually(lambda: len(mails(program)) == 2, within_s=60)
        assert mails(program)[1]["Subject"] == "[alert] shop succeeds again"
        assert program.stop() == 0
    body = first.get_body(("plain",))
    assert body is not None
    assert "Last successful run: never" in body.get_content()
    assert "500" in body.get_content()


def test_in_quiet_hours_a_digest_waits(program: Program) -> None:
    hour = time.gmtime().tm_hour
    quiet = f"{hour:02}:00-{(hour + 2) % 24:02}:00"
    with PageSite({"/": Answer("<p><b>Book</b></p>")}) as site:
        program.write(SPIDER.format(url=site.url) + f"""
[digests.now]
spiders = ["shop"]
to = ["me@example.com"]
[digests.later]
spiders = ["shop"]
to = ["me@example.com"]
quiet = "{quiet}"
[digests.scheduled]
spiders = ["shop"]
to = ["me@example.com"]
schedule = "every 1s"
quiet = "{quiet}"
""")
        program.serve()
        eventually(lambda: mails(program), within_s=60)
        before = len(program.history())
        eventually(lambda: len(program.history()) > before + 1, within_s=60)
        assert [mail["Subject"] for mail in mails(program)] == ["New: Book"]
        assert program.stop() == 0


def test_a_hanging_mail_server_does_not_delay_a_stop_and_the_message_waits(program: Program) -> None:
    with PageSite({"/": Answer("<p><b>Book</b></p>")}) as site, SmtpServer() as server:
        server.faults.append(Fault("DATA", times=1))
        mail = f'[mail]\nhost = "127.0.0.1"\nport = {server.port}\nsecurity = "none"\ntimeout = "10m"\n'
        digest = '[digests.d]\nspiders = ["shop"]\nto = ["me@example.com"]\n'
        program.write("shutdown_grace = \"1s\"\n" + mail + SPIDER.format(url=site.url) + digest)
        text = (program.folder / "settings.toml").read_text("utf-8")
        grace = 'shutdown_grace = "1s"\n'
        (program.folder / "settings.toml").write_text(text.replace(grace, "").replace("[pipeline]\n", f"[pipeline]\n{grace}"))
        program.serve()
        eventually(lambda: server.faults[0].times == 0, within_s=60)
        begun = time.monotonic()
        assert program.stop() == 0
        assert time.monotonic() - begun < 30
        assert "me@example.com" in program.run("outbox", "show", "1").stdout
        assert "the next attempt is at" in program.log()


def test_a_service_builds_a_digest_again_that_the_mail_server_refused(program: Program) -> None:
    with PageSite({"/": Answer("<p><b>Book</b></p>")}) as site, SmtpServer() as server:
        server.faults.append(Fault("END", "554 5.7.0 no such attachments", times=1))
        program.write(SPIDER.format(url=site.url) + f"""
[mail]
from = "me@example.com"
host = "127.0.0.1"
port = {server.port}
security = "none"
[digests.now]
spiders = ["shop"]
to = ["me@example.com"]
attach = ["csv"]
""")
        program.serve()
        (received,) = server.wait_for(1, within_s=60)
        assert program.stop() == 0
    mail = email.message_from_bytes(received.content, policy=default)
    assert mail["Subject"] == "New: Book"
    assert not list(mail.iter_attachments())
