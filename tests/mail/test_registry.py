"""Tests that registering a transport or a format is enough to use it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import MailError, SettingsError
from pipeline.mail.formats.columns import TableFormat, table_format
from pipeline.mail.transports import open_transport
from pipeline.mail.transports.maildir import MaildirTransport
from pipeline.model import Message, RecipientResult
from pipeline.registry import ATTACHMENT_FORMATS, MAIL_TRANSPORTS, MailTransport, load
from pipeline.settings import MailTable, Secret, Settings, Table, schema
from pipeline.settings.masking import Mask
from pipeline.settings.models.mail import transport_tables
from pipeline.settings.reference import reference
from pipeline.settings.restart import keep_until_restart
from tests.mail.conftest import SettingsFrom


class SpoolTable(Table):
    """A folder of messages."""

    folder: str
    """Folder in data_dir."""
    key: Secret | None = None
    """Key of the folder."""


class SpoolTransport(MaildirTransport):
    """Tells its key in all that it says."""

    def __init__(self, folder: Path, key: str) -> None:
        super().__init__(folder)
        self._key = key

    def deliver(self, message: Message, file: Path) -> list[RecipientResult]:
        return [replace(result, text=f"opened with {self._key}") for result in super().deliver(message, file)]

    def connect(self) -> None:
        super().connect()
        if self._key:
            raise MailError(f"{self._key} does not fit", where=f"the lock of {self._key}", fix=f"turn {self._key}", retry=True)

    def receipt(self, address: str) -> str:
        return f"delivered with {self._key}"


def open_spool(settings: Settings, data_dir: Path, *, dialogue: object) -> MaildirTransport:
    table = settings.mail.transport_options["spool"]
    folder = data_dir / table.folder
    return SpoolTransport(folder, table.key.reveal()) if table.key is not None else MaildirTransport(folder)


@pytest.fixture
def spool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MAIL_TRANSPORTS, "spool", MailTransport(f"{__name__}:open_spool", keys=("spool",),
                                                                table=f"{__name__}:SpoolTable"))


def test_a_registered_transport_is_chosen_by_its_own_table_of_mail(spool: None, settings_from: SettingsFrom, tmp_path: Path) -> None:
    settings = settings_from(mail='[mail.spool]\nfolder = "outgoing"')
    assert settings.mail.transport == "spool"
    transport = open_transport(settings, tmp_path)
    assert transport.receipt("me@example.com") == f"delivered to me@example.com, in the Maildir {tmp_path / 'outgoing'}"


@pytest.mark.parametrize(("toml", "problem"), [
    ('host = "smtp.example.com"\n[mail.spool]\nfolder = "outgoing"', r"mail: give either `host` or `spool`, not both"),
    ("[mail.spool]\n", r"mail\.spool\.folder: is missing"),
    ('spool = "outgoing"', r"mail\.spool: should be a table, found 'outgoing'"),
    ('[mail.spool]\nfoldr = "outgoing"\nfolder = "x"', r"mail\.spool\.foldr: unknown key \(did you mean 'folder'\?\); known: folder, key"),
    ('[mail.spool]\nfolder = "x"\nkey = "k3y-in-the-open"', r"mail\.spool\.key: secrets are not allowed in the settings file"),
    ("port = 0\n[mail.spool]\n", r"mail\.port: .*\n.*mail\.spool\.folder: is missing"),
    ('[mail.spol]\nfolder = "x"', r"mail\.spol: unknown key \(did you mean 'spool'\?\)"),
    ("[mail.transport_options]\nspool = {}", "transport_options is an unknown key"),
])
def test_a_mistake_in_the_table_of_a_transport_is_explained(
        spool: None, settings_from: SettingsFrom, toml: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem) as caught:
        settings_from(mail=toml)
    assert "k3y-in-the-open" not in str(caught.value)


def test_a_secret_in_the_table_of_a_transport_is_masked_in_all_that_it_reports(
        spool: None, settings_from: SettingsFrom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOOL_KEY", "k3y <of> the spool")
    settings = settings_from(mail='[mail.spool]\nfolder = "outgoing"\nkey = { env = "SPOOL_KEY" }')
    assert Mask.of(settings)("k3y <of> the spool or k3y%20%3Cof%3E%20the%20spool") == "**** or ****"
    transport = open_transport(settings, tmp_path)
    with pytest.raises(MailError) as caught:
        transport.connect()
    assert (str(caught.value), caught.value.retry) == ("the lock of ****: **** does not fit; turn ****", True)
    assert transport.receipt("me@example.com") == "delivered with ****"


def test_a_secret_file_of_a_transport_is_found_from_the_folder_of_the_settings(
        spool: None, settings_from: SettingsFrom, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k3y-of-the-spool")
    settings = settings_from(mail='[mail.spool]\nfolder = "outgoing"\nkey = { file = "key" }')
    assert settings.mail.transport_options["spool"].key.reveal() == "k3y-of-the-spool"


def test_a_change_of_the_table_of_a_transport_needs_a_restart(spool: None, settings_from: SettingsFrom) -> None:
    before, after = (settings_from(mail=f'[mail.spool]\nfolder = "{name}"') for name in ("a", "b"))
    applied, waiting = keep_until_restart(before, after)
    assert waiting == ["mail.spool"]
    assert applied.mail == before.mail


def test_the_table_of_a_transport_is_in_the_schema_and_the_reference(spool: None) -> None:
    table = schema()["$defs"]["MailTable"]
    assert table["properties"]["spool"]["required"] == ["folder"]
    assert "transport_options" not in table["properties"]
    assert "## `[mail.spool]`\n\nA folder of messages." in reference()
    assert "transport_options" not in reference()


@pytest.mark.parametrize("name", MAIL_TRANSPORTS)
def test_each_registered_transport_can_be_chosen(name: str) -> None:
    transport = MAIL_TRANSPORTS[name]
    assert callable(load(transport.opener))
    assert set(transport.keys) <= {*MailTable.model_fields, *transport_tables()}


def test_a_table_of_mail_that_no_transport_registered_is_an_error(settings_from: SettingsFrom) -> None:
    with pytest.raises(SettingsError, match=r"mail\.spool: unknown key"):
        settings_from(mail='[mail.spool]\nfolder = "outgoing"')


@pytest.mark.parametrize("name", ATTACHMENT_FORMATS)
def test_each_registered_format_loads(name: str) -> None:
    assert isinstance(table_format(name), TableFormat)
