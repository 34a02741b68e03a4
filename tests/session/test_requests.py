"""Prepared requests: params, forms, JSON, headers, credentials and secrets."""

from __future__ import annotations

import json
import tomllib
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.session import PreparedStart, prepare
from pipeline.settings import RequestTable, Secret


def prepared(**table: Any) -> PreparedStart:
    return prepare(RequestTable.model_validate({"url": "http://a.example/p?old=1", **table}))


@pytest.mark.parametrize(("params", "url"), [
    ({}, "http://a.example/p?old=1"),
    ({"a": "", "b": []}, "http://a.example/p?old=1"),
    ({"a": ["1", "", "2"], "b": 3, "c": True, "d": 1.5}, "http://a.example/p?old=1&a=1&a=2&b=3&c=true&d=1.5"),
    ([["a", "1"], ["b", "x y"], ["a", "&"]], "http://a.example/p?old=1&a=1&b=x+y&a=%26")])
def test_params_are_added_to_the_query(params: Any, url: str) -> None:
    assert prepared(params=params).url == url


def test_params_and_forms_are_sent_in_the_tables_encoding() -> None:
    start = prepared(params={"q": "中"}, form={"q": "中€ÿ", "empty": ""}, encoding="gbk")
    assert start.url.endswith("&q=%D6%D0")
    assert start.body == b"q=%D6%D0%26%238364%3B%26%23255%3B&empty="  # as browsers: &#…; for what GBK lacks
    assert start.method == "POST"
    assert dict(start.headers)["Content-Type"] == "application/x-www-form-urlencoded"


@given(st.lists(st.tuples(st.text(min_size=1, max_size=5), st.text(min_size=1, max_size=8)), max_size=6))
def test_any_pairs_are_encoded_without_loss(pairs: list[tuple[str, str]]) -> None:
    start = prepared(url="http://a.example/", params=pairs, form=pairs)
    assert parse_qsl(urlsplit(start.url).query, keep_blank_values=True) == pairs
    assert parse_qsl(start.body.decode(), keep_blank_values=True) == pairs


def test_json_keeps_its_characters_and_toml_dates() -> None:
    table = tomllib.loads('a = 2026-01-02\nb = "中"\nc = [1, 2.5, true]')
    start = prepared(json=table)
    assert json.loads(start.body) == {"a": "2026-01-02", "b": "中", "c": [1, 2.5, True]}
    with pytest.raises(UsageError, match="number that JSON cannot represent"):
        prepared(json={"x": float("nan")})


def test_the_method_is_get_without_a_body_and_may_be_set() -> None:
    assert prepared().method == "GET"
    assert prepared(body="x").method == "POST"
    assert prepared(json=0).body == b"0"
    assert prepared(method="put", body="x").method == "PUT"


def test_headers_of_the_table_win_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "t0ken")
    start = prepared(json={}, headers={"content-type": "application/x+json", "X-Api": Secret("env", "API_TOKEN")})
    assert start.headers == (("content-type", "application/x+json"), ("X-Api", "t0ken"))
    auth = {"type": "bearer", "token": Secret("env", "API_TOKEN")}
    assert prepared(headers={"authorization": Secret("env", "API_TOKEN")}, auth=auth).headers == (("Authorization", "Bearer t0ken"),)


def test_credentials_in_the_url_become_a_header() -> None:
    start = prepared(url="http://me:p%40ss@a.example/")
    assert start.url == "http://a.example/"
    assert start.headers == (("Authorization", "Basic bWU6cEBzcw=="),)


def test_the_repr_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "geheim")
    secret = Secret("env", "API_TOKEN")
    start = prepared(headers={"X": secret}, cookies={"c": secret}, body="geheim",
                     auth={"type": "digest", "user": "me", "password": secret})
    assert start.auth is not None
    assert start.auth.scheme == "digest"
    assert start.cookies == {"c": "geheim"}
    assert "geheim" not in repr(start) + repr(start.auth)


@pytest.mark.parametrize("place", ["headers", "cookies"])
def test_a_line_break_in_a_secret_is_refused(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setenv("API_TOKEN", "geheim\r\nX-Evil: 1")
    with pytest.raises(UsageError, match="'X' contains a line break") as caught:
        prepared(**{place: {"X": Secret("env", "API_TOKEN")}})
    assert "geheim" not in str(caught.value)


def test_a_body_that_its_encoding_cannot_represent_is_reported() -> None:
    with pytest.raises(UsageError, match="characters that ascii cannot encode"):
        prepared(body="中", encoding="ascii")
