"""A password never goes from https to http, and never from its URL into a message or file."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from pipeline.errors import PipelineError
from pipeline.secret_forms import SecretForms
from tests.servers.authority import Authority
from tests.servers.pages import Answer, Asked, PageSite
from tests.session.conftest import OpenSession


def context(leaf: trustme.LeafCert) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(made)
    return made


@pytest.mark.parametrize("password", ["geh&im x/1", "wrong&one x/1"])
def test_a_password_in_a_url_appears_in_no_message_and_no_file(open_with: OpenSession, tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    monkeypatch.setenv("SITE_PASSWORD", password)
    forms = SecretForms([password], shortest=4)
    with PageSite() as pages:
        pages.pages = {"/login": "<form action=/in><input name=user><input type=password name=pass></form>",
                       "/in": lambda asked: Answer(f"<p class=error>Wrong: {asked.path}</p>" if "wrong" in asked.path else
                                                   "<a href=/logout>out</a>", headers={"Set-Cookie": "sid=1"})}
        session = open_with(pages.url, login=f'url = "{pages.url}/login"')
        if "wrong" in password:
            with pytest.raises(PipelineError) as caught:
                session.ensure_login()
            assert not forms.are_in(str(caught.value).encode())
        else:
            session.ensure_login()
    for file in (tmp_path / "var").rglob("*"):
        assert not file.is_file() or not forms.are_in(file.read_bytes())


FORM = "<form method=post action='{action}'><input name=user><input type=password name=pass>{button}</form>"


@pytest.mark.parametrize(("form", "status", "words"), [
    (FORM.format(action="{plain}/steal", button=""), 0, "refused to send the password unencrypted from {site} to {plain}"),
    (FORM.format(action="/in", button="<button formaction='{plain}/steal'>In</button>"), 0, "refused to send the password unencrypted from {site} to {plain}"),
    ("<base href='{plain}/'>" + FORM.format(action="steal", button=""), 0, "refused to send the password unencrypted from {site} to {plain}"),
    (FORM.format(action="/in", button=""), 307, "refused to send the request body unencrypted from {site} to {plain}"),
    (FORM.format(action="/in", button=""), 308, "refused to send the request body unencrypted from {site} to {plain}")])
def test_a_password_stays_on_https(authority: Authority, open_with: OpenSession, form: str, status: int, words: str) -> None:
    with PageSite() as plain, PageSite(tls=context(authority.issue())) as site:
        site.pages = {"/login": form.replace("{plain}", plain.url),
                      "/in": Answer("", status or 200, {"Location": f"{plain.url}/steal"})}
        session = open_with(site.url, f'ca_file = "{authority.ca_file}"', login=f'url = "{site.url}/login"')
        with pytest.raises(PipelineError) as caught:
            session.ensure_login()
        assert words.replace("{plain}", plain.url).replace("{site}", site.url) in str(caught.value)
        assert plain.asked == []


@pytest.mark.parametrize("headers", [{}, {"Refresh": "0;url={plain}/in"}])
def test_a_refresh_from_https_to_http_is_not_followed(authority: Authority, open_with: OpenSession,
                                                      headers: dict[str, str]) -> None:
    with PageSite() as plain, PageSite(tls=context(authority.issue())) as site:
        def login(asked: Asked) -> Answer:
            if asked.method == "GET":
                return Answer(FORM.format(action="", button=""))
            return Answer("" if headers else f"<meta http-equiv=refresh content='0;url={plain.url}/in'>", headers={
                "Set-Cookie": "sid=1", **{name: value.replace("{plain}", plain.url) for name, value in headers.items()}})
        site.pages = {"/login": login}
        session = open_with(site.url, f'ca_file = "{authority.ca_file}"', login=f'url = "{site.url}/login"')
        with pytest.raises(PipelineError, match=r"login\.check matches nothing"):
            session.ensure_login()
        assert plain.asked == []
