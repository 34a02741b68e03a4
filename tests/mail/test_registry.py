"""A transport or a format that is registered in `pipeline.registry` is used without a change anywhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import SettingsError
from pipeline.mail.formats.columns import TableFormat, table_format
from pipeline.mail.transports import open_transport
from pipeline.mail.transports.maildir import MaildirTransport
from pipeline.registry import ATTACHMENT_FORMATS, MAIL_TRANSPORTS, MailTransport
from pipeline.settings import Settings
from tests.mail.conftest import SettingsFrom


def open_spool(settings: Settings, data_dir: Path, *, dialogue: object) -> MaildirTransport:
    return MaildirTransport(data_dir / settings.mail.transport_options["spool"]["folder"])


def test_a_registered_transport_is_chosen_by_its_own_table_of_mail(
        settings_from: SettingsFrom, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(MAIL_TRANSPORTS, "spool", MailTransport(f"{__name__}:open_spool", keys=("spool",)))
    settings = settings_from(mail='[mail.spool]\nfolder = "outgoing"')
    assert settings.mail.transport == "spool"
    transport = open_transport(settings, tmp_path)
    assert transport.receipt("me@example.com") == f"delivered to me@example.com, in the Maildir {tmp_path / 'outgoing'}"
    with pytest.raises(SettingsError, match="give host or spool, not both"):
        settings_from(mail='host = "smtp.example.com"\n[mail.spool]\nfolder = "outgoing"')


def test_a_table_of_mail_that_no_transport_registered_is_an_error(settings_from: SettingsFrom) -> None:
    with pytest.raises(SettingsError, match=r"mail\.spool: unknown key"):
        settings_from(mail='[mail.spool]\nfolder = "outgoing"')


@pytest.mark.parametrize("name", ATTACHMENT_FORMATS)
def test_each_registered_format_loads(name: str) -> None:
    assert isinstance(table_format(name), TableFormat)
