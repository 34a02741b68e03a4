"""Tests of loading settings.toml: values, errors and their messages."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from pipeline.errors import SettingsError, UsageError
from pipeline.settings import Secret, Settings, load, schema, secrets


def loaded(tmp_path: Path, text: str) -> Settings:
    (tmp_path / "settings.toml").write_text(text, "utf-8")
    return load(tmp_path / "settings.toml")


def problem(tmp_path: Path, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, text)
    return str(caught.value)


def test_durations_and_sizes_become_numbers(tmp_path: Path) -> None:
    settings = loaded(tmp_path, '[spiders.s]\nstart = "http://x/"\ndelay = "1h30m"\nmax_page_size = "1.5MiB"\n')
    assert settings.spiders["s"].delay == 5400
    assert settings.spiders["s"].max_page_size == 1_572_864


@pytest.mark.parametrize("value", ['"soon"', "3", '""', '"3 parsecs"', "true", '"-1s"'])
def test_a_bad_duration_shows_how_one_is_written(tmp_path: Path, value: str) -> None:
    said = problem(tmp_path, f'[spiders.s]\nstart = "http://x/"\ndelay = {value}\n')
    assert said.startswith("settings.toml: spiders.s.delay: ")
    assert '"30s"' in said


@pytest.mark.parametrize("value", ["true", '"chromium"'])
def test_a_bad_way_to_render_shows_how_it_is_written(tmp_path: Path, value: str) -> None:
    said = problem(tmp_path, f'[spiders.s]\nstart = "http://x/"\nrender = {value}\n')
    assert "spiders.s.render: " in said
    assert 'write "browser" or a table' in said


def test_paths_start_at_the_file(tmp_path: Path) -> None:
    settings = loaded(tmp_path, '[pipeline]\ndata_dir = "data"\n')
    assert settings.data_dir == tmp_path / "data"


def test_a_secret_is_read_when_it_is_used_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("f1le-secret\n")
    monkeypatch.setenv("KEY", "env-secret")
    settings = loaded(tmp_path, '[spiders.s]\nstart = "http://x/"\nheaders = { a = { env = "KEY" }, b = { file = "key" } }\n')
    assert [secret.reveal() for secret in secrets(settings)] == ["env-secret", "f1le-secret"]
    shown = repr(settings) + str(settings) + settings.model_dump_json(fallback=repr)
    assert "env-secret" not in shown
    assert "f1le-secret" not in shown


def test_settings_can_be_pickled_for_a_child(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("f1le-secret")
    settings = loaded(tmp_path, '[spiders.s]\nstart = "http://x/"\nheaders = { a = { file = "key" } }\n')
    again = pickle.loads(pickle.dumps(settings))
    assert again == settings
    assert again.folder == settings.folder
    assert [secret.reveal() for secret in secrets(again)] == ["f1le-secret"]


@pytest.mark.parametrize(("secret", "words"), [
    (Secret("env", "NOT_SET_ANYWHERE"), "NOT_SET_ANYWHERE is not set"), (Secret("file", "/no/such/file"), "cannot be read"),
    (Secret("file", "/dev/zero"), "more than 1,000,000 bytes")])
def test_a_missing_secret_says_what_to_do(secret: Secret, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        secret.reveal()


@pytest.mark.parametrize("text", [
    '[mail]\nuser = "me"\npassword = "hunter2hunter2"\n',
    '[spiders.s]\nstart = "http://x/"\n[spiders.s.login]\nurl = "http://x/"\ncheck = "a"\nfields = { user = "me", password = "hunter2hunter2" }\n',
    '[spiders.s]\nstart = { url = "http://x/", auth = { user = "me", password = "hunter2hunter2" } }\n',
    '[pipeline]\ndatabase = "postgresql://me:hunter2/hunter2@db/x"\n',
    '[pipeline]\ndatabase = "postgresql://db/x?user=me&password=hunter2hunter2"\n'])
def test_a_password_written_in_the_file_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    said = problem(tmp_path, text)
    assert "{ env" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("url", ["postgresql://me@db/x", "postgresql://db:5432/x", "postgresql:///x?host=/run/postgresql",
                                 "sqlite:////srv/a:b@c.sqlite3"])
def test_a_database_url_without_a_password_may_be_in_the_file(tmp_path: Path, url: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(f'[pipeline]\ndatabase = "{url}"\n')
    assert load(path).database_url == url


@pytest.mark.parametrize(("text", "words"), [
    ("[pipelin]\n", "did you mean 'pipeline'?"),
    ('[spiders.s]\nstart = "http://x/"\nmaxpages = 3\n', "did you mean 'max_pages'?"),
    ('[spiders.s]\nstart = "http://x/"\n[spiders.s.items]\nfeilds = {}\n', "did you mean 'fields'?"),
    ('[spiders.s]\nstart = { url = "http://x/", metod = "GET" }\n', "did you mean 'method'?"),
    ('[mail]\nprovider = "gmial"\n', "did you mean 'gmail'?"),
    ('[spiders."a b"]\nstart = "http://x/"\n', "the name may have at most 64 characters"),
    ("[spiders.s]\n", "`start` is missing"),
    ('[spiders.s]\nstart = "http://x/"\n[spiders.s.items]\nkey = ["ulr"]\nfields = { url = "a" }\n', "did you mean 'url'?"),
    ('[mail]\nhost = "h"\nuser = "me"\nsecurity = "none"\npassword = { env = "X" }\n', "allow_plaintext_auth"),
    ('[spiders.s]\nstart = "http://x/"\nencoding = "utf-9"\n', "unknown encoding 'utf-9'"),
    ("[heartbeat]\nport = 99999\n", "found 99999"),
    ('[spiders.s]\nstart = "http://x/"\nschedule = ["0 7 * * *", "0 25 * * *"]\n', "spiders.s.schedule[1]: the hour '25'"),
    ('[spiders.s]\nstart = "http://x/"\nschedule = { when = "0 7 * * *", untl = 3 }\n', "did you mean 'until'?"),
    ('[spiders.s]\nstart = "http://x/"\nschedule = { when = "0 7 * * *", skip = ["works"] }\n', "'works' is not a day"),
    ('[spiders.s]\nstart = "http://x/"\nschedule = { when = "0 7 * * *", from = 2026-12-02, until = 2026-12-01 }\n', "before the date in `from`"),
    ('[ai]\nbase_url = "http://x/v1"\nmodel = "m"\nprice_input = 1e308\n', "ai.price_input: should be at most 1000000"),
    ('[calendars]\nworks = ["2026-02-30"]\n', "2026-02-30 is not a valid date"),
    ('[spiders.s]\nstart = "http://x/"\nafter = "t"\n[spiders.t]\nstart = "http://x/"\nafter = ["s"]\n', "s after t after s"),
    ('[spiders.s]\nstart = "http://x/"\nafter = "t"\n', "no spider named 't'"),
    ('[spiders.s]\nstart = "http://x/"\ncatch_up = 3\n', "3 is not a duration"),
])
def test_each_mistake_is_reported_with_its_fix(tmp_path: Path, text: str, words: str) -> None:
    assert words in problem(tmp_path, text)


@pytest.mark.parametrize(("rule", "words"), [
    ('"a["', "not a CSS selector"), ('"//a["', "not an XPath expression"), ('{ jmes = "a..b" }', "not a JMESPath expression"),
    ('{ css = "a", regex = "(" }', "not a regular expression"), ('{ css = "a", xpath = "//a" }', "found css, xpath"),
    ('""', "the selector is empty")])
def test_check_reports_an_invalid_selector(tmp_path: Path, rule: str, words: str) -> None:
    assert words in problem(tmp_path, f'[spiders.s]\nstart = "http://x/"\nfollow = [{rule}]\n')


def test_the_schema_is_json_schema_of_all_tables() -> None:
    found = json.loads(json.dumps(schema()))
    assert {"pipeline", "heartbeat", "mail", "proxies", "spiders", "digests", "alerts", "demo"} <= set(found["properties"])
    assert found["additionalProperties"] is False


@pytest.mark.parametrize(("selector", "said"), [
    ("li:fist-child a", "'li:fist-child a' is not a CSS selector: The pseudo-class :fist-child is unknown (did you mean 'first-child'?)"),
    ("a:not(:nosuch)::text", "The pseudo-class :nosuch is unknown"),
    ("p:nth-child()", "is not a CSS selector: Invalid series"),
    ("h2::before", "the pseudo-element ::before selects nothing; use ::text or ::attr(NAME)")])
def test_a_pseudo_class_that_no_parser_knows_is_refused(tmp_path: Path, selector: str, said: str) -> None:
    found = problem(tmp_path, f'[spiders.s]\nstart = "http://x/"\nfollow = ["{selector}"]\nitems.fields.t = "{selector}"\n')
    assert said in found
    assert found.count(said) == 2


@pytest.mark.parametrize("selector", [
    "li:has(a)", "p:lang(en)", "td:nth-child(2)::text", "a:nth-of-type(2n+1)::attr(href)", "h3 a::attr(title), b::text", "p:contains('a:b')",
    "a[href*=':x']", "tr:not(:first-child)", "p:lexbor-contains('x')", ":scope > a", "svg|a"])
def test_a_pseudo_class_that_one_of_the_parsers_knows_is_accepted(tmp_path: Path, selector: str) -> None:
    assert loaded(tmp_path, f'[spiders.s]\nstart = "http://x/"\nitems.fields.t = "{selector}"\n').spiders["s"].items is not None
