"""Tests of what a spider may be that is written on the pages or through the API."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cli.settings_check.draft import check
from pipeline.cli.settings_check.draft_policy import FILES_ONLY, WRITABLE
from pipeline.settings import SpiderTable
from pipeline.settings.drafts import DRAFT_BYTES

SETTINGS = """
[mail]
host = "smtp.example.com"
user = "me@example.com"
password = { env = "SPIDER_MAIL" }
[proxies]
office = "http://127.0.0.1:3128"
unused = "http://127.0.0.1:3129"
[spiders.intranet]
start = "http://10.0.0.7:8080/"
items.fields.url = "a::attr(href)"
proxy = "office"
ca_file = "ca.pem"
headers = { X-Key = { env = "INTRANET_KEY" } }
auth = { user = "me", password = { env = "SPIDER_INTRANET" } }
[spiders.guarded]
start = "http://10.0.0.8/"
public_only = true
items.fields.url = "a::attr(href)"
"""
DRAFT = '[spiders.films]\nstart = "https://films.example/"\npublic_only = true\nitems.fields.url = "a::attr(href)"\n'
INTRANET = '[spiders.films]\nstart = "http://10.0.0.7:8080/films"\nitems.fields.url = "a::attr(href)"\n'


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SPIDER_MAIL", "SPIDER_INTRANET", "INTRANET_KEY", "SPIDER_FILMS", "HOME_KEY"):
        monkeypatch.setenv(name, f"a value of {name}")
    path = tmp_path / "settings.toml"
    path.write_text(SETTINGS)
    return path


def problems(settings: Path, toml: str, spider: str = "") -> list[tuple[str, int | None, str]]:
    """The problems that keep a draft from being saved: key, line, text."""
    return [(each["key"], each["line"], each["text"]) for each in check(str(settings), toml, spider)["problems"] if not each["warning"]]


@pytest.mark.parametrize("toml", [
    DRAFT, DRAFT + 'headers = { X-Key = { env = "SPIDER_FILMS" } }\n', INTRANET, INTRANET + 'headers = { X-Key = { env = "INTRANET_KEY" } }\nproxy = "office"\n',
    INTRANET + 'auth = { user = "me", password = { env = "SPIDER_INTRANET" } }\n'])
def test_a_draft_may_be_public_or_share_the_hosts_and_the_session_of_a_spider(settings: Path, toml: str) -> None:
    assert problems(settings, toml) == []


@pytest.mark.parametrize(("more", "key", "said"), [
    ('spider = "os:path"', "spider", "code that this machine executes"),
    ('spider = "evil.py:Evil"', "spider", "code that this machine executes"),
    ('project = "folder"\nspider = "x"', "project", "code that this machine executes"),
    ('ca_file = "/etc/passwd"', "ca_file", "a file of this machine"),
    ("insecure_tls = true", "insecure_tls", "the check of certificates"),
    ('beat = "https://10.0.0.9/"', "beat", "calls after each run"),
    ('cookies.file = "/etc/passwd"', "cookies.file", "a file of this machine"),
    ('proxy = "unused"', "proxy", "no spider of the settings uses this proxy"),
    ('proxy = "environment"', "proxy", "no spider of the settings uses this proxy"),
    ('headers = { X-Key = { file = "/etc/passwd" } }', "headers.X-Key", "this machine would send the file"),
    ('headers = { X-Key = { env = "HOME_KEY" } }', "headers.X-Key", "names begin with SPIDER_"),
    ('headers = { X-Key = { keyring = "mail/me" } }', "headers.X-Key", 'begins with "spider"'),
    ('headers = { X-Key = { env = "SPIDER_MAIL" } }', "headers.X-Key", "for something else"),
    ('auth = { user = "me", password = { env = "SPIDER_INTRANET" } }', "auth.password", "for something else"),
    ('headers = { Authorization = "Bearer hunter2" }', "headers", "secrets are not allowed in the settings file"),
    ('render.steps = [{ fill = "#q", value = { env = "HOME_KEY" } }]', "render.steps[0].value", "names begin with SPIDER_"),
    ('hosts = ["10.0.0.9"]\npublic_only = false', "public_only", "twice"),
])
def test_a_draft_runs_no_code_reads_no_file_and_sends_no_secret_of_others(settings: Path, more: str, key: str, said: str) -> None:
    found = problems(settings, DRAFT + more + "\n")
    if key == "public_only":  # a key twice is no TOML
        assert "Cannot overwrite" in found[0][2]
        assert found[0][1] == 6
        return
    assert [(at, said in text) for at, _, text in found if at == f"spiders.films.{key}"] == [(f"spiders.films.{key}", True)], found
    assert 5 in {line for _, line, _ in found}


@pytest.mark.parametrize("toml", [
    DRAFT.replace("public_only = true\n", ""), INTRANET.replace(":8080", ":8081"), INTRANET.replace("10.0.0.7:8080", "10.0.0.8"), INTRANET + 'hosts = ["127.0.0.1:9"]\n',
    INTRANET + '[spiders.films.login]\nurl = "http://127.0.0.1/"\nfields.name = "me"\ncheck = "a"\n'])
def test_a_draft_that_names_other_hosts_must_fetch_only_public_addresses(settings: Path, toml: str) -> None:
    assert [(key, "public_only = true" in text) for key, _, text in problems(settings, toml)] == [("spiders.films", True)]


@pytest.mark.parametrize(("toml", "said"), [
    (DRAFT + '[mail]\nhost = "evil.example"\n', "mail: only one table"), (DRAFT + "[heartbeat]\nport = 1\n", "heartbeat: only one table"),
    (DRAFT + '[spiders.intranet]\nstart = "https://x.example/"\n', "spiders.intranet: only one table"), ("x = 1\n" + DRAFT, "x: only one table"),
    ("", "no table [spiders.NAME]"), ("spiders = 3", "no table [spiders.NAME]"), ("[spiders]\nfilms = 3", "no table [spiders.NAME]"),
    (DRAFT.replace("films]", '"../../films"]'), "cannot be the name"), (DRAFT.replace("films]", '"a b"]'), "cannot be the name"), (DRAFT.replace("films]", '""]'), "cannot be the name"),
    (DRAFT.replace("films]", "intranet]"), "already a spider"),
    ("x = " + "[" * 20_000, "nested too deeply"), ("#" * (DRAFT_BYTES + 1), "65,536 bytes"), (DRAFT + "# \ud800", "half of a character"),
    (DRAFT + 'items.fields.t = { jmes = "' + "(" * 9_000 + '" }', "nested too deeply"), ("[spiders.films", "not valid TOML"),
])
def test_a_draft_is_the_table_of_one_new_spider_and_nothing_else(settings: Path, toml: str, said: str) -> None:
    assert said in " ".join(f"{key}: {text}" for key, _, text in problems(settings, toml))


def test_a_file_of_settings_d_is_edited_without_a_change_of_its_other_tables(settings: Path) -> None:
    folder = settings.with_name("settings.d")
    folder.mkdir()
    text = DRAFT + '[digests.films]\nspiders = ["films"]\nto = ["me@example.com"]\nschedule = "daily at 07:00"\n'
    (folder / "films.toml").write_text(text)
    assert problems(settings, text.replace("public_only", 'delay = "1s"\npublic_only'), "films") == []
    for changed in (text.replace("me@", "you@"), DRAFT, text + "[mail]\n"):
        assert "must stay as it is" in problems(settings, changed, "films")[0][2]
    assert "no table [spiders.films]" in problems(settings, text.replace("spiders.films", "spiders.other"), "films")[0][2]
    (folder / "free.toml").write_text("")
    assert "already exists" in problems(settings, DRAFT.replace("films", "free"))[0][2]
    (folder / "bad.toml").write_text("[spiders")
    assert "have problems without this text" in problems(settings, DRAFT.replace("films", "cinema"))[0][2]


def test_each_key_of_a_spider_is_either_writable_or_only_in_files() -> None:
    """A new key: decide whether whoever has a token may set it, and what it could reach."""
    assert set(SpiderTable.model_fields) == WRITABLE | set(FILES_ONLY)
    assert not WRITABLE & set(FILES_ONLY)
