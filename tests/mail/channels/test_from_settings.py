"""Tests of notification channels as the settings name them.

The commands check, test, preview, send, and look at the outbox.
"""

from __future__ import annotations

import json

import pytest

from pipeline.cli.deliveries import send_digest, send_test_texts
from pipeline.cli.settings_check.secrets import check_secrets
from pipeline.heartbeat.http.operations import messages
from pipeline.mail.digests.preview import preview
from pipeline.model import MessageState
from pipeline.settings.masking import Mask
from pipeline.store.mail import outbox as stored
from tests.mail.conftest import NOW, Site
from tests.servers.pages import Answer, PageSite

CHANNELS = """
notify = [{ env = "HOOK" }, { env = "REVOKED" }]
[[digests.morning.groups]]
keywords = ["chair"]
notify = [{ env = "HOOK" }]
[alerts]
notify = [{ env = "HOOK" }]
"""


@pytest.fixture
def settings(settings_from, monkeypatch, hook):
    monkeypatch.setenv("HOOK", f"json://{hook.host}/hook/t0ken")
    monkeypatch.setenv("REVOKED", f"json://{hook.host}/gone/s3cret")
    return settings_from(to="[]", digest=CHANNELS)


@pytest.fixture
def hook():
    with PageSite({"/hook/t0ken": Answer("{}"), "/gone/s3cret": Answer("no_service s3cret", 404)}) as opened:
        yield opened


def test_check_reports_a_url_that_cannot_be_used_without_showing_it(settings, monkeypatch) -> None:
    assert not list(check_secrets(settings))
    monkeypatch.setenv("HOOK", "nonsense://t0ken")
    remark, = map(str, check_secrets(settings))
    assert remark.startswith("alerts.notify[0]: Apprise does not understand the URL of the channel")
    assert "t0ken" not in remark


def test_notify_test_sends_a_text_to_each_channel_and_says_what_happened(settings, hook) -> None:
    said: list[str] = []
    assert send_test_texts(settings, "", say=said.append) == 7
    assert said == ["digests.morning: env:HOOK: delivered, accepted by JSON",
                    "digests.morning: env:REVOKED: the service replied 404 Not Found: no_service ****; check the URL and the token of the channel",
                    "digests.morning.groups.1: env:HOOK: delivered, accepted by JSON", "alerts: env:HOOK: delivered, accepted by JSON"]
    assert json.loads(hook.asked[0].body)["message"] == "• If you can read this text, the channel works: texts of morning are sent here."
    assert send_test_texts(settings, "alerts", say=said.append) == 0
    assert send_test_texts(settings, "digests.other", say=said.append) == 0
    assert said[-1].startswith("[digests.other] has no channels; add `notify = [{ env = ")


def test_a_digest_is_previewed_sent_and_listed_by_the_reference_of_its_channel(store, settings, hook, tmp_path) -> None:
    Site(store).run({"1": {"title": "Lamp @everyone"}, "2": {"title": "Chair"}})
    paths = preview(store, settings, "morning", tmp_path / "preview", now=NOW)
    assert [path.name for path in paths] == ["morning-notify.txt", "morning-notify-2.txt"]
    assert paths[0].read_text("utf-8").endswith("\n• New: Lamp @everyone\n• New: Chair\n")
    said: list[str] = []
    assert send_digest(store, settings, "morning", say=said.append) == 7
    assert sum("delivered to env:HOOK" in line for line in said) == 2
    assert json.loads(hook.asked[0].body)["message"].splitlines() == ["• New: Lamp @\u200beveryone", "• New: Chair"]
    parked, = stored.list_messages(store)
    assert (parked.state, parked.recipients) == (MessageState.PARKED, ("env:REVOKED",))
    shown = messages.body(store, parked.id, Mask.of(settings))
    assert shown is not None
    assert (shown[0].splitlines()[1:], shown[1]) == (["New: Lamp @everyone", "New: Chair"], "text/plain")
    assert not any(secret in "".join(said) for secret in ("t0ken", "s3cret"))
    store.close()
    assert not any(secret in file.read_bytes() for file in store.data_dir.rglob("*") if file.is_file() for secret in (b"t0ken", b"s3cret"))
