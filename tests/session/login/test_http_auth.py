"""HTTP authentication.

The examples of the RFCs, challenges of real servers, and the origins that get credentials.
"""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import UsageError
from pipeline.session.login.http_auth import MAX_TRIES, Challenge, HttpAuth, challenges_in, digest
from pipeline.session.trusted_origins import TrustedOrigins
from pipeline.settings import AuthTable

URL = "https://site.example/dir/index.html"


def auth_of(monkeypatch: pytest.MonkeyPatch, kind: str = "digest", password: str = "secret", **more: Any) -> HttpAuth:
    monkeypatch.setenv("AUTH_SECRET", password)
    given = {"token": {"env": "AUTH_SECRET"}} if kind == "bearer" else {"user": "me", "password": {"env": "AUTH_SECRET"}}
    return HttpAuth(AuthTable.model_validate({"type": kind, **given, **more}), TrustedOrigins(["https://site.example/"], "auth"), "spiders.s.auth")


@pytest.mark.parametrize(("algorithm", "response"), [
    ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
    ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1")])
def test_the_example_of_rfc_7616(algorithm: str, response: str) -> None:
    challenge = Challenge("digest", {
        "realm": "http-auth@example.org", "qop": "auth, auth-int", "algorithm": algorithm,
        "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "opaque": "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"})
    header = digest(("Mufasa", "Circle of Life"), challenge, "GET", "http://www.example.org/dir/index.html", uses=1,
                    cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")
    assert f'response="{response}"' in header
    assert f"algorithm={algorithm}" in header
    assert 'uri="/dir/index.html"' in header
    assert "qop=auth, nc=00000001" in header
    assert 'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"' in header


def test_the_example_of_rfc_7616_with_a_hashed_name() -> None:
    challenge = Challenge("digest", {
        "realm": "api@example.org", "qop": "auth", "algorithm": "SHA-512-256", "charset": "UTF-8", "userhash": "true",
        "nonce": "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK"})
    header = digest(("Jäsøn Doe", "Secret, or not?"), challenge, "GET", "http://api.example.org/doe.json", uses=1,
                    cnonce="NTg6RKcb9boFIAS3KrFK9BGeh+niz/sm")
    # The RFC's own numbers are of SHA-512 cut in half, which is not SHA-512/256 (FIPS 180-4, 5.3.6.2).
    assert 'username="793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"' in header
    assert 'response="7a4e1192babbba02e91182d2895bfdbf7adafc6e48d4e517ca301974843d840c"' in header
    assert header.endswith("userhash=true")


def test_the_example_of_rfc_2617_without_qop() -> None:
    challenge = Challenge("digest", {"realm": "testrealm@host.com", "nonce": "dcd98b7102dd2f0e8b11d0f600bfb0c093"})
    header = digest(("Mufasa", "Circle Of Life"), challenge, "GET", "http://a.example/dir/index.html", uses=1, cnonce="x")
    assert 'response="670fd8c2df070c60b045671b8b24ff02"' in header
    assert "qop" not in header


@pytest.mark.parametrize(("header", "found"), [
    ('Basic realm="a"', [("basic", {"realm": "a"})]),
    ('Digest realm="a, b", nonce=x, qop="auth"', [("digest", {"realm": "a, b", "nonce": "x", "qop": "auth"})]),
    ('Basic realm="x", Digest realm="y", nonce="z"', [("basic", {"realm": "x"}), ("digest", {"realm": "y", "nonce": "z"})]),
    ("Negotiate, NTLM, Basic realm=\"q\\\"q\"", [("negotiate", {}), ("ntlm", {}), ("basic", {"realm": 'q"q'})]),
    ("Negotiate YII=, Bearer", [("negotiate", {}), ("bearer", {})]), ("DIGEST Nonce = \"n\" ,realm=r", [
        ("digest", {"nonce": "n", "realm": "r"})]), ("", []), ("===", [])])
def test_several_challenges_in_a_header_are_separated(header: str, found: list[tuple[str, dict[str, str]]]) -> None:
    assert [(challenge.scheme, challenge.params) for challenge in challenges_in(header)] == found


@pytest.mark.parametrize("url", ["http://site.example/", "https://site.example:8443/", "https://www.site.example/",
                                 "https://site.example.evil.example/", "https://site.example@evil.example/"])
def test_credentials_go_to_no_other_origin(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    auth = auth_of(monkeypatch, "basic")
    assert auth.header("GET", "https://SITE.example:443/x") == "Basic bWU6c2VjcmV0"
    assert auth.header("GET", url) == ""
    assert not auth.serves(url)


def test_a_nonce_is_used_again_and_renewed_when_it_is_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    auth = auth_of(monkeypatch)
    assert auth.header("GET", URL) == ""
    assert auth.take(['Digest realm="r", nonce="one", qop="auth"'], sent=False, tries=1)
    first, second = auth.header("GET", URL), auth.header("POST", f"{URL}?q")
    assert ('nonce="one"' in first, "nc=00000001" in first) == (True, True)
    assert ('nonce="one"' in second, "nc=00000002" in second, 'uri="/dir/index.html?q"' in second) == (True, True, True)
    assert auth.take(['Digest realm="r", nonce="two", qop="auth", stale=TRUE'], sent=True, tries=1)
    assert 'nonce="two"' in auth.header("GET", URL)
    assert auth.take(['Digest realm="r", nonce="three", stale=true'], sent=True, tries=2)
    assert not auth.take(['Digest realm="r", nonce="four", stale=true'], sent=True, tries=MAX_TRIES)


def test_a_new_nonce_that_is_not_accepted_means_a_wrong_password(monkeypatch: pytest.MonkeyPatch) -> None:
    auth = auth_of(monkeypatch)
    assert auth.take(['Digest realm="r", nonce="one"'], sent=False, tries=1)
    assert not auth.take(['Digest realm="r", nonce="two"'], sent=True, tries=2)


def test_with_credentials_that_were_accepted_before_another_request_may_have_used_the_new_nonce_first(monkeypatch: pytest.MonkeyPatch) -> None:
    auth = auth_of(monkeypatch)
    auth.accepted = True
    assert [auth.take([f'Digest realm="r", nonce="{tries}"'], sent=True, tries=tries) for tries in range(1, 6)] == [True, True, True, False, False]
    assert "https://site.example/dir/index.html did not accept the user name or password of the `auth` setting (realm “r”)" in str(
        auth.refused(URL, ['Digest realm="r", nonce="two"']))


@pytest.mark.parametrize("offered", [
    'Digest realm="r"', 'Digest nonce="n"', 'Digest realm="r", nonce="n", qop="auth-int"', "Basic realm=r",
    'Digest realm="r", nonce="n", algorithm=SHA-3', "", 'Digest realm="r", nonce="a\rb"'])
def test_an_unsupported_challenge_is_not_answered(monkeypatch: pytest.MonkeyPatch, offered: str) -> None:
    assert not auth_of(monkeypatch).take([offered], sent=False, tries=1)


def test_the_first_supported_challenge_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    auth = auth_of(monkeypatch)
    assert auth.take(['Digest realm="r", nonce="n", algorithm=SHA-3', 'Digest realm="r", nonce="m", algorithm=SHA-256-sess',
                      'Digest realm="r", nonce="l", algorithm=MD5'], sent=False, tries=1)
    assert "algorithm=SHA-256-sess" in auth.header("GET", URL)


def test_another_scheme_than_the_configured_one_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "requires basic or negotiate authentication, not digest; correct auth.type" in str(
        auth_of(monkeypatch).refused(URL, ["Negotiate", 'Basic realm="r"']))


@pytest.mark.parametrize("kind", ["basic", "digest", "bearer"])
def test_a_secret_with_a_line_break_is_refused(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    with pytest.raises(UsageError, match="contains a line break"):
        auth_of(monkeypatch, kind, "a\r\nX-Evil: 1")
