"""Tests of secrets in the keyring and in JSON files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import SettingsError, UsageError
from pipeline.settings import Secret, load
from pipeline.settings.masking import Mask
from tests.servers.keyring_file import BACKEND, FILE
from tests.servers.program import Program
from tests.servers.smtp import SmtpServer

PASSWORD = "keyr1ng s3cret"


@pytest.fixture
def keyring(tmp_path: Path) -> dict[str, str]:
    """The environment of a process with a keyring that yagmail.register() filled."""
    (tmp_path / "keyring.json").write_text(json.dumps({"yagmail/me@example.com": PASSWORD}))
    return {"PYTHON_KEYRING_BACKEND": BACKEND, FILE: str(tmp_path / "keyring.json")}


def mail(port: int, account: str = "me@example.com") -> str:
    return f"""
        [mail]
        host = "127.0.0.1"
        port = {port}
        security = "none"
        allow_plaintext_auth = true
        user = "me@example.com"
        password = {{ keyring = "yagmail/{account}" }}
    """


def test_mail_is_sent_with_the_password_that_yagmail_keeps_in_the_keyring(program: Program, keyring: dict[str, str]) -> None:
    program.environment |= keyring
    with SmtpServer(users={"me@example.com": PASSWORD}) as server:
        program.write(mail(server.port))
        sent = program.run("mail", "test", "--to", "you@example.com", "--debug")
        assert sent.returncode == 0, sent.stdout + sent.stderr
        server.wait_for(1)
    assert PASSWORD not in sent.stdout + sent.stderr


@pytest.mark.parametrize(("account", "locked", "words"), [
    ("you@example.com", False, "the keyring has no password for the account 'you@example.com' of the service 'yagmail'; store the password with `keyring set yagmail you@example.com`"),
    ("me@example.com", True, "the keyring cannot be read: KeyringLocked; unlock the keyring")])
def test_a_keyring_without_the_password_is_reported_with_the_fix(program: Program, keyring: dict[str, str], account: str, *, locked: bool, words: str) -> None:
    program.environment |= {name: value for name, value in keyring.items() if not (locked and name == FILE)}
    with SmtpServer(users={"me@example.com": PASSWORD}) as server:
        program.write(mail(server.port, account))
        sent = program.run("mail", "test", "--to", "you@example.com")
    assert sent.returncode != 0
    assert words in " ".join((sent.stdout + sent.stderr).split())


@pytest.mark.parametrize(("content", "words"), [
    ('{"token": "t0p s3cret"}', ""), ("[]", "is not a JSON object with a string at the key 'token'"), ("{}", "is not a JSON object with a string at the key 'token'"), ('{"token": 7}', "is not a JSON object with a string at the key 'token'"),
    ("{token: t0p s3cret", "is not a JSON object with a string at the key 'token'")])
def test_one_value_of_a_json_file_is_a_secret(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "creds.json").write_text(content)
    secret = Secret("file", "creds.json", str(tmp_path), key="token")
    assert not secret.can_be_replaced
    if not words:
        assert secret.reveal() == "t0p s3cret"
        return
    with pytest.raises(UsageError, match=words) as caught:
        secret.reveal()
    assert "s3cret" not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r} {caught.value.__context__!r}"


def test_a_file_in_the_home_of_an_unknown_user_is_reported_as_missing() -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        Secret("file", "~no-such-user/secret").reveal()


def test_a_secret_of_the_keyring_is_masked_like_any_other(tmp_path: Path, keyring: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    keyring_module = pytest.importorskip("keyring")
    monkeypatch.setenv(FILE, keyring[FILE])
    from tests.servers.keyring_file import FileKeyring
    before = keyring_module.get_keyring()
    keyring_module.set_keyring(FileKeyring())
    try:
        (tmp_path / "settings.toml").write_text(mail(25).replace("        ", ""))
        assert Mask.of(load(tmp_path / "settings.toml"))(f"login with {PASSWORD}") == "login with ****"
    finally:
        keyring_module.set_keyring(before)


@pytest.mark.parametrize("reference", ['{ keyring = "yagmail" }', '{ keyring = "/me" }', '{ keyring = "yagmail/" }', '{ env = "A", key = "b" }',
                                       '{ file = "f", key = 3 }', '{ keyring = "a/b", file = "c" }', '"hunter2hunter2"'])
def test_a_reference_that_names_no_secret_is_refused(tmp_path: Path, reference: str) -> None:
    (tmp_path / "settings.toml").write_text(f'[mail]\nuser = "me"\npassword = {reference}\n')
    with pytest.raises(SettingsError, match="secret") as caught:
        load(tmp_path / "settings.toml")
    assert "hunter2" not in str(caught.value)
