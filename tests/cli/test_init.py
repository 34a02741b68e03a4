"""Tests of `pipeline init`: the file that it writes, and its offer for users of yagmail.

They have files of yagmail.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipeline.settings import load
from tests.servers.program import Program

OAUTH2 = {"email_address": "me@gmail.com", "google_client_id": "12-ab.apps.googleusercontent.com",
          "google_client_secret": "cl1ent s3cret", "google_refresh_token": "1//refr3sh"}


@pytest.fixture
def home(program: Program, tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    program.environment["HOME"] = str(folder)
    return folder


def offered(program: Program) -> list[str]:
    """The tables that `pipeline init` prints, one text for each account."""
    answer = program.run("init", "new")
    assert answer.returncode == 0, answer.stderr
    assert "s3cret" not in answer.stdout
    assert "refr3sh" not in answer.stdout
    return ["[mail]" + part.partition("\n\n/")[0] for part in answer.stdout.split("\n[mail]")[1:]]


@pytest.mark.parametrize(("user", "address"), [("me@gmail.com\n", "me@gmail.com"), ("me", "me@gmail.com")])
def test_init_offers_a_yagmail_account_with_its_keyring_password(program: Program, home: Path, tmp_path: Path,
                                                                      user: str, address: str) -> None:
    (home / ".yagmail").write_text(user)
    toml, = offered(program)
    (tmp_path / "settings.toml").write_text(toml)
    mail = load(tmp_path / "settings.toml").mail
    assert (mail.provider, mail.user, repr(mail.password)) == ("gmail", address, f"Secret(keyring='yagmail/{address}')")


def test_init_offers_a_yagmail_oauth2_file_whose_secrets_stay_in_it(program: Program, home: Path, tmp_path: Path,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "oauth2_creds.json").write_text(json.dumps(OAUTH2))
    toml, = offered(program)
    (tmp_path / "settings.toml").write_text(toml)
    monkeypatch.setenv("HOME", str(home))
    oauth2 = load(tmp_path / "settings.toml").mail.oauth2
    assert oauth2 is not None
    assert oauth2.client_secret is not None
    assert (oauth2.client_id, oauth2.client_secret.reveal(), oauth2.refresh_token.reveal()) == (
        OAUTH2["google_client_id"], OAUTH2["google_client_secret"], OAUTH2["google_refresh_token"])


@pytest.mark.parametrize(("name", "content"), [
    (".yagmail", ""), (".yagmail", 'me@gmail.com"\nprovider = "x'), (".yagmail", "\x1b[31mme@gmail.com"), (".yagmail", "\udcff"),
    ("oauth2_creds.json", "{}"), ("oauth2_creds.json", "no JSON"), ("oauth2_creds.json", '{"installed": {"client_id": "1"}}'),
    ("oauth2_creds.json", json.dumps({**OAUTH2, "google_client_id": 'a"\nb'}))])
def test_a_file_that_names_no_account_is_left_alone(program: Program, home: Path, name: str, content: str) -> None:
    (home / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    assert offered(program) == []


def test_the_new_file_is_short_and_check_says_what_is_missing(program: Program) -> None:
    done = program.run("init")
    assert "next: `pipeline new spider NAME --from URL`" in done.stdout
    text = (program.folder / "settings.toml").read_text("utf-8")
    assert len(text.splitlines()) < 30
    assert load(program.folder / "settings.toml").demo is None
    found = program.run("check")
    assert (found.returncode, found.stderr.count("\n")) == (2, 1)
    assert "there is no spider, so there is nothing to do; write one with `pipeline new spider NAME --from URL`" in found.stderr


def test_the_examples_in_the_new_file_work_without_their_marks(program: Program) -> None:
    program.run("init")
    settings = program.folder / "settings.toml"
    settings.write_text(re.sub(r"^#(?! )", "", settings.read_text("utf-8"), flags=re.MULTILINE), "utf-8")
    program.environment["MAIL_PASSWORD"] = "secret word"
    found = program.run("check")
    assert found.returncode == 0, found.stderr
    assert [line.split(": ")[2] for line in found.stderr.splitlines()] == ["digests.morning.to[0]", "spiders.news.start[0]"]
    assert all(" is a placeholder" in line for line in found.stderr.splitlines())


def test_the_demo_is_written_on_request(program: Program) -> None:
    program.run("init", "--demo", "demo folder")
    written = program.folder / "demo folder" / "settings.toml"
    assert load(written).demo is not None
    assert program.run("check", "--settings", str(written)).returncode == 0
