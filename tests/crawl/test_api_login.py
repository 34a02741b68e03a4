"""Logins to APIs: nested JSON, and the token login that is copied from docs/sessions.md.

The JSON has numbers and booleans.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipeline.errors import LoginError, SettingsError
from pipeline.model import Outcome
from pipeline.settings import load
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, Asked, PageSite

DOCS = Path(__file__).parents[2] / "docs/sessions.md"


def answer_json(data: object, status: int = 200) -> Answer:
    return Answer(json.dumps(data), status, {"Content-Type": "application/json"})


def graphql(asked: Asked) -> Answer:
    """GraphQL over HTTP: a mutation that returns a token, and queries that need it, by POST or GET."""
    known = asked.headers.get("Authorization") == "Bearer t0k3n"
    if asked.method == "GET":
        me = answer_json({"data": {"me": {"name": "me"}}})
        return me if known and asked.path.endswith("?query=%7Bme%7Bname%7D%7D") else answer_json({"errors": [{"message": "No"}]}, 401)
    sent = json.loads(asked.body)
    if "mutation" in sent["query"]:
        if sent["variables"] != {"input": {"user": "me", "password": "geheim", "remember": True, "device": 7}}:
            return answer_json({"data": None, "errors": [{"message": "Invalid credentials"}]})
        return answer_json({"data": {"login": {"token": "t0k3n"}}})
    if not known:
        return answer_json({"errors": [{"message": "Unauthenticated"}]}, 401)
    return answer_json({"data": {"orders": [{"id": 1, "total": 9.5}, {"id": 2, "total": 20}]}})


def example() -> str:
    """The only example on the page that logs in to a GraphQL API."""
    blocks = re.findall(r"```toml\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    found, = (block for block in blocks if "mutation" in block)
    return str(found)


def test_the_token_login_of_the_docs_works(crawls: Crawls, site: PageSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "geheim")
    site.pages = {"/graphql": graphql}
    crawls.write(example().replace("https://shop.example", site.url))
    run = crawls.run("orders")
    assert (run.outcome, run.complete) == (Outcome.SUCCEEDED, True)
    assert sorted(item["total"] for item in crawls.items("orders").values()) == ["20", "9.5"]


def test_a_refused_token_login_is_reported_without_the_password(crawls: Crawls, site: PageSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "wr0ng")
    site.pages = {"/graphql": lambda asked: answer_json({"message": f"no {json.loads(asked.body)['variables']}"}, 401)}
    crawls.write(example().replace("https://shop.example", site.url))
    with pytest.raises(LoginError, match="the user name or password was not accepted") as caught:
        crawls.run("orders")
    assert "wr0ng" not in str(caught.value)
    assert not any("wr0ng" in file.read_text("utf-8", "replace") for file in crawls.folder.rglob("login-*.html"))


@pytest.mark.parametrize(("fields", "body"), [
    ('user = "me"', {"user": "me"}), ("n = 1\nx = 1.5\nb = true\nc = false", {"n": 1, "x": 1.5, "b": True, "c": False}),
    ('list = ["a", 1, { deep = { env = "SHOP_PASSWORD" } }]', {"list": ["a", 1, {"deep": "geheim"}]}),
    ('a.b.c = { env = "SHOP_PASSWORD" }', {"a": {"b": {"c": "geheim"}}}), ('name = "José"', {"name": "José"}),
    ('empty = {}\nnone = []\ntext = ""', {"empty": {}, "none": [], "text": ""})])
def test_login_fields_are_sent_with_their_json_types(crawls: Crawls, site: PageSite, monkeypatch: pytest.MonkeyPatch, fields: str,
                                     body: object) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "geheim")
    site.pages = {"/": "<p>x</p>", "/login": answer_json({"ok": True})}
    crawls.write(f"""
[spiders.s]
start = "{site.url}/"
[spiders.s.items.fields]
text = "p"
[spiders.s.login]
url = "{site.url}/login"
json = true
check = {{ jmes = "ok" }}
[spiders.s.login.fields]
{fields}
""")
    assert crawls.run().outcome is Outcome.SUCCEEDED
    login = next(asked for asked in site.asked if asked.method == "POST")
    assert json.loads(login.body) == body
    assert login.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(("lines", "words"), [
    ("fields = { n = 1 }", "the value of fields.n is not a text, but forms contain only texts"),
    ("fields = { remember = true }", "the value of fields.remember is not a text"),
    ('json = true\nfields = { a = { b = [ { password = "plain" } ] } }',
     "password is a secret, and secrets are not allowed in the settings file"),
    ("json = true\nfields = { when = 2026-01-01 }", "the value of when cannot be sent as JSON"),
    ("json = true\nfields = { n = nan }", "the value of n cannot be sent as JSON")])
def test_login_fields_that_cannot_be_sent_are_settings_errors(tmp_path: Path, lines: str, words: str) -> None:
    (tmp_path / "settings.toml").write_text(
        f'[spiders.s]\nstart = "https://a.example/"\n[spiders.s.login]\nurl = "https://a.example/in"\ncheck = "a"\n{lines}\n')
    with pytest.raises(SettingsError) as caught:
        load(tmp_path / "settings.toml")
    assert words in str(caught.value)
