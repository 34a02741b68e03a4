"""Every option of a digest, an alert and [mail] through a real service.

What arrives at a real mail server.
"""

from __future__ import annotations

import contextlib
import email
import json
import re
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from email.policy import default
from pathlib import Path
from typing import get_args

import pytest
import requests

import tests.service.digest_proofs  # noqa: F401  registers the digests
from pipeline.languages import alert_wording
from pipeline.session.cookies.cookie import make_cookie
from pipeline.session.cookies.jar import Jar
from pipeline.settings import DigestTable
from pipeline.settings.models.digest import GroupTable
from pipeline.settings.models.mail import AlertsTable, MailTable
from pipeline.store.mail.alerts import AlertKind
from tests.servers.language_model import LanguageModelServer
from tests.servers.pages import Answer, PageSite
from tests.servers.ports import free_port
from tests.servers.program import Program, eventually
from tests.servers.smtp import SmtpServer
from tests.service.digest_scenario import (
    DIGESTS,
    NEVER,
    PUBLIC_URL,
    Inbox,
    Mail,
    answer_of_model,
    change_shop,
    open_shop,
    settings_of_spiders,
)

TESTS = Path(__file__).parents[1]
MAIL = """
[mail]
host = "127.0.0.1"
port = {port}
security = "none"
from = "Shop, News <news@example.com>"
sender = "robot@example.com"
envelope_from = "bounces@example.com"
reply_to = "people@example.com"
user = "news"
password = {{ env = "MAIL_PASSWORD" }}
allow_plaintext_auth = true
timeout = "30s"
[alerts]
to = ["ops@example.com"]
after = 1
every = "1s"
login_before = "10d"
notify = [{{ env = "OPS" }}]
timezone = "Asia/Tokyo"
language = "zh"
"""
ELSEWHERE = {
    "ca_file": "mail/transports/test_smtp.py::test_tls_with_a_login_and_a_verified_certificate",
    "command": "mail/transports/test_sendmail.py::test_the_settings_choose_the_command",
    "dkim": "mail/message/test_dkim.py::test_a_digest_with_attachments_carries_a_signature_that_others_verify",
    "maildir": "mail/test_outbox.py::test_a_maildir_delivers_once_even_after_a_client_moved_the_message",
    "max_age": "mail/test_outbox.py::test_a_message_older_than_max_age_is_parked",
    "max_attempts": "mail/test_outbox.py::test_a_message_tried_too_often_is_parked_and_retry_resets_the_count",
    "oauth2": "mail/transports/test_oauth2.py::test_a_refresh_token_becomes_an_access_token_that_logs_in",
    "per_hour": "mail/transports/test_sendmail.py::test_at_most_per_hour_messages_are_sent_in_any_hour",
    "provider": "mail/transports/test_smtp.py::test_port_and_security_follow_from_each_other_and_plain_text_must_be_set",
    "token_command": "mail/transports/test_sendmail.py::test_a_token_logs_in_and_is_never_shown",
}
"""The keys of [mail] that cannot be used beside the others, with the tests that prove them."""


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inbox]:
    """What a service sent: after the first run of each spider, after a run of the shop that found changes, and after a restart.

    With the restart, quiet hours end, and a digest gets another schedule.
    """
    folder = tmp_path_factory.mktemp("options")
    (folder / "mine").mkdir()
    (folder / "mine" / "digest.txt").write_text(
        "Mine: {% for section in sections %}{{ section['items'] | map(attribute='title') | join(', ') }}{% endfor %}")
    jar = Jar(folder / "cookies.txt")
    jar.set_cookie(make_cookie(domain="127.0.0.1", name="session", value="1", expires_s=int(time.time()) + 5 * 86400, http_only=True))
    jar.save()
    program, hour = Program(folder, free_port()), time.gmtime().tm_hour
    program.environment["MAIL_PASSWORD"] = "hunter2"
    with PageSite() as site, SmtpServer(users={"news": "hunter2"}) as server, LanguageModelServer(answer_of_model) as model:
        open_shop(site)
        for name in ("HOOK", "OPS", "DOWN"):
            program.environment[name] = f"json://{site.host}/channel/{name}"
            site.pages[f"/channel/{name}"] = Answer("", 503 if name == "DOWN" else 200)
        quiet, loud = (f"{(hour + begin) % 24:02}:00-{(hour + begin + 3) % 24:02}:00" for begin in (-1, 11))
        program.write(model.settings() + MAIL.format(port=server.port) + settings_of_spiders(site) + "".join(
            digest.settings.replace("QUIET", quiet) for digest in DIGESTS.values()))
        settings = folder / "settings.toml"
        settings.write_text(settings.read_text().replace("[heartbeat]", f'[heartbeat]\npublic_url = "{PUBLIC_URL}"'))
        program.serve()
        try:
            _wait_for_mails(server, "first")
            change_shop(site)
            token = (program.data / "heartbeat-token").read_text().strip()
            requests.post(f"http://127.0.0.1:{program.port}/spiders/shop/run", timeout=10, allow_redirects=False,
                          headers={"Authorization": f"Bearer {token}"}).raise_for_status()
            _wait_for_mails(server, "first", "second")
            assert program.stop() == 0
            settings.write_text(settings.read_text().replace(quiet, loud).replace(NEVER, "every 1h"))
            program.serve()
            _wait_for_mails(server, "first", "second", "third")
            assert program.stop() == 0
        finally:
            program.close()
        assert not any(token.encode() in one.content for one in server.received)
        yield _inbox(server, site)


def _inbox(server: SmtpServer, site: PageSite) -> Inbox:
    texts: dict[str, list[dict[str, str]]] = {}
    for asked in site.asked:
        if asked.path.startswith("/channel/"):
            texts.setdefault(asked.path.rpartition("/")[2], []).append(json.loads(asked.body))
    return Inbox([Mail(one.sender, one.recipients, email.message_from_bytes(one.content, policy=default)) for one in server.received], texts)


def _wait_for_mails(server: SmtpServer, *stages: str) -> None:
    """Wait until each digest has sent its mails of these stages. The test of a digest reports a missing mail."""
    def all_arrived() -> bool:
        names = [re.search(rb"^List-Id: <(\w+)\.", one.content, re.MULTILINE) for one in server.received]
        counts = Counter(name[1].decode() for name in names if name is not None)
        return all(counts[name] >= sum(getattr(digest, stage) for stage in stages) for name, digest in DIGESTS.items())

    with contextlib.suppress(AssertionError):
        eventually(all_arrived, within_s=150)


@pytest.mark.parametrize("name", DIGESTS)
def test_the_mails_of_a_digest_show_the_effect_of_its_options(name: str, inbox: Inbox) -> None:
    mails = [mail for mail in inbox.mails if mail["List-Id"] == f"<{name}.example.com>"]
    assert len(mails) == DIGESTS[name].mails
    DIGESTS[name].proof(mails, inbox)


def test_each_mail_has_the_sender_of_the_settings_and_was_sent_after_a_login(inbox: Inbox) -> None:
    for mail in inbox.mails:
        assert mail.sender == "bounces@example.com"
        assert mail["From"] == '"Shop, News" <news@example.com>'
        assert (mail["Sender"], mail["Reply-To"]) == ("robot@example.com", "people@example.com")


def test_alerts_are_sent_about_what_the_settings_say_in_their_language(inbox: Inbox) -> None:
    text = "".join(mail.text for mail in inbox.of("ops"))
    words = alert_wording("zh")
    assert words.failed_once.format(spider="broken") in text
    assert words.failed_once.format(spider="broken") in "".join(told["message"] for told in inbox.texts["OPS"])
    assert words.titles[AlertKind.LOGIN].format(spider="large") in text
    assert "shop" not in text
    assert all("+0900" in mail["Date"] for mail in inbox.of("ops"))


def _values(key: str) -> set[str]:
    """Return the values that the setting of a digest may have, if it is one of several or a list of such."""
    annotation = DigestTable.model_fields[key].annotation
    inner = get_args(annotation)
    return set(get_args(inner[0]) or inner)


def test_every_option_has_a_proof() -> None:
    """If this test fails for a new key, add a digest that uses the key to digest_proofs.py."""
    tables = [digest.table for digest in DIGESTS.values()]
    assert DigestTable.model_fields.keys() - {key for table in tables for key in table} == set()
    used = {key for table in tables for group in table.get("groups", ()) for key in group}
    assert GroupTable.model_fields.keys() - used == set()
    given = tomllib.loads(MAIL.format(port=25))
    assert AlertsTable.model_fields.keys() - given["alerts"].keys() == set()
    assert {field.alias or key for key, field in MailTable.model_fields.items()} - given["mail"].keys() - ELSEWHERE.keys() == {"transport_options"}


@pytest.mark.parametrize("place", ELSEWHERE.values())
def test_the_other_options_have_a_test(place: str) -> None:
    file, _, name = place.partition("::")
    assert f"def {name}(" in (TESTS / file).read_text("utf-8")


@pytest.mark.parametrize("key", ["attach", "oversize", "empty", "language"])
def test_every_value_of_an_option_has_a_proof(key: str) -> None:
    used: set[str] = set()
    for digest in DIGESTS.values():
        value = digest.table.get(key, ())
        used.update([value] if isinstance(value, str) else value)
    assert _values(key) - used == set()
