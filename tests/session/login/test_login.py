"""Form logins, logins in steps, one-time codes and API logins."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from pipeline.errors import FetchError, LoginError, SettingsError, UsageError
from pipeline.session import Session
from pipeline.session.login.totp import totp_code
from tests.servers.site import PASSWORD, TOTP_SECRET, USER, Site
from tests.session.conftest import OpenSession


def private(session: Session, site: Site) -> str:
    with session.client() as client:
        return client.get(f"{site.url}/private").text


def refused(session: Session) -> LoginError:
    with pytest.raises(LoginError) as caught:
        session.ensure_login()
    return caught.value


@pytest.mark.parametrize("page", ["login", "login-quiet", "login-get", "login-multipart", "login-gbk"])
def test_login_works_with_unusual_forms(site: Site, open_with: OpenSession, page: str) -> None:
    session = open_with(site.url, login=f'url = "{site.url}/{page}"')
    session.ensure_login()
    assert "you are in" in private(session, site)


def test_without_a_login_nothing_is_fetched(site: Site, open_with: OpenSession) -> None:
    session = open_with(site.url)
    session.ensure_login()
    assert session.logged_in()
    assert site.log == []


def test_a_login_is_valid_in_the_next_process(site: Site, open_with: OpenSession) -> None:
    login = f'url = "{site.url}/login"'
    open_with(site.url, login=login).ensure_login()
    again = open_with(site.url, login=login)
    assert again.logged_in()
    again.ensure_login()
    assert site.logins == 1
    assert "you are in" in private(again, site)


def test_an_expired_login_is_made_again(site: Site, open_with: OpenSession) -> None:
    session = open_with(site.url, login=f'url = "{site.url}/login"')
    session.ensure_login()
    site.expire()
    assert not session.logged_in()
    session.ensure_login()
    assert site.logins == 2
    assert "you are in" in private(session, site)


def test_a_valid_login_is_not_made_again_because_the_site_fails_for_a_moment(site: Site, open_with: OpenSession) -> None:
    session = open_with(site.url, login=f'url = "{site.url}/login"')
    session.ensure_login()
    site.failures = 1
    session.ensure_login()
    assert site.logins == 1


def test_many_threads_log_in_once(site: Site, open_with: OpenSession) -> None:
    session = open_with(site.url, login=f'url = "{site.url}/login"')
    threads = [threading.Thread(target=session.ensure_login) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert site.logins == 1


def test_the_check_can_be_on_a_named_page(site: Site, open_with: OpenSession) -> None:
    session = open_with(site.url, login=f'url = "{site.url}/login-quiet"\ncheck_url = "{site.url}/private"\n'
                                        'check = "//p[@id=\'user\']"')
    session.ensure_login()
    session.ensure_login()
    assert site.logins == 1
    assert len(site.seen("/private")) == 2


@pytest.mark.parametrize("check", ['"p#user::text"', '{ css = "#user", regex = "are in" }', '{ regex = "you are in" }',
                                   '{ page = "url", regex = "/private$" }', '{ page = "title", regex = "^private" }',
                                   '{ xpath = "count(//a[@href=\'/logout\']) = 1" }'])
def test_the_check_can_use_any_selector(site: Site, open_with: OpenSession, check: str) -> None:
    open_with(site.url, login=f'url = "{site.url}/login"\ncheck = {check}').ensure_login()
    assert site.logins == 1


def test_the_form_can_be_named_by_css(site: Site, open_with: OpenSession) -> None:
    refused(open_with(site.url, login=f'url = "{site.url}/login-css"\nform = "#two"'))
    assert b"which=two" in site.seen("/enter", "POST")[0].body


def test_a_wrong_password_is_reported_in_the_pages_words(site: Site, open_with: OpenSession, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    session = open_with(site.url, login=f'url = "{site.url}/login"')
    monkeypatch.setenv("SITE_PASSWORD", "letmein<now>")
    error = refused(session)
    kept = tmp_path / "var/pages/login-s.html"
    assert str(error) == (f"spiders.s.login ({site.url}/enter?next=%2Fprivate): the user name or password was not "
                          "accepted: “The user name or\N{REPLACEMENT CHARACTER} password is wrong: •••.”; correct login.fields; "
                          f"the page is saved in {kept}")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "letmein" not in kept.read_text("utf-8")
    assert not error.retry
    assert error.exit_code == 3


@pytest.mark.parametrize(("page", "words", "retry"), [
    ("login-captcha", "the site asks for a captcha: “Please solve", False),
    ("login-locked", "the account is locked, or there were too many login attempts: “Your account is locked", False),
    ("login-broken", "the site responded with a server error (status 502)", True),
    ("login-walled", "the login page asks for a captcha", False),
    ("login-gone", "the login page responded with status 404", False),
    ("login-down", "the login page responded with a server error (status 503)", True)])
def test_kinds_of_refusals_are_distinguished(site: Site, open_with: OpenSession, page: str, words: str, retry: bool) -> None:
    error = refused(open_with(site.url, login=f'url = "{site.url}/{page}"'))
    assert words in str(error)
    assert error.retry is retry


def test_a_changed_form_is_reported_with_its_fields(site: Site, open_with: OpenSession) -> None:
    error = refused(open_with(site.url, login=f'url = "{site.url}/login"\nfields = {{ usr = "me" }}'))
    assert "on the login page has a field usr (did you mean 'user'?); fields found: q, search, csrf" in str(error)


def test_a_form_that_css_does_not_find_is_reported(site: Site, open_with: OpenSession) -> None:
    error = refused(open_with(site.url, login=f'url = "{site.url}/login"\nform = "#login"'))
    assert "login.form selects no form on the login page" in str(error)


def test_a_check_that_matches_without_a_login_proves_nothing(site: Site, open_with: OpenSession) -> None:
    error = refused(open_with(site.url, login=f'url = "{site.url}/login"\ncheck = "form"'))
    assert "already matches on the login page" in str(error)
    assert site.logins == 0


def test_a_check_that_does_not_match_is_not_reported_as_a_wrong_password(site: Site, open_with: OpenSession) -> None:
    error = refused(open_with(site.url, login=f'url = "{site.url}/login"\ncheck = "#nobody"'))
    assert "login.check matches nothing on the page after the login (status 200)" in str(error)


@pytest.mark.parametrize(("line", "where"), [
    ('check = "a[["', "login.check: 'a[[' is not a CSS selector"),
    ('check = "//a["', "login.check: '//a[' is not an XPath expression"),
    ('check = { regex = "(" }', "login.check.regex: '(' is not a regular expression"),
    ('expired.present = "b[["', "login.expired.present: 'b[[' is not a CSS selector"),
    ("expired.stauts = [401]", "login.expired.stauts: unknown key (did you mean 'status'?)")])
def test_malformed_rules_are_named(site: Site, open_with: OpenSession, line: str, where: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_with(site.url, login=f'url = "{site.url}/login"\n{line}')
    assert where in str(caught.value)


def test_a_malformed_form_is_named(site: Site, open_with: OpenSession) -> None:
    with pytest.raises(SettingsError, match=r"login\.form: 'a\[\[' is not a CSS selector"):
        open_with(site.url, login=f'url = "{site.url}/login"\nform = "a[["')


def test_the_password_is_in_no_repr_and_no_error(site: Site, open_with: OpenSession) -> None:
    session = open_with(site.url, login=f'url = "{site.url}/login"\ncheck = "#nobody"')
    assert PASSWORD not in repr(refused(session)) + repr(session) + repr(session.jar) + str(session.jar)


@pytest.mark.parametrize(("page", "words"), [("drip", "did not arrive in time"), ("silence", "the server did not respond in time"),
                                             ("circle", "the server redirected the request too many times"), ("cut", "the body was cut short: 4 of 100 bytes arrived"),
                                             ("bomb", "is larger than 1.0 MB")])
def test_an_endless_login_page_stops_at_the_size_limit(site: Site, open_with: OpenSession, page: str, words: str) -> None:
    timeout = "20s" if page == "bomb" else "500ms"  # the site compresses it during the request
    session = open_with(site.url, f'timeout = "{timeout}"\nmax_page_size = "1MB"', login=f'url = "{site.url}/{page}"')
    with pytest.raises(FetchError, match=words):
        session.ensure_login()


def test_a_redirect_is_followed_without_its_whole_body(site: Site, open_with: OpenSession) -> None:
    with open_with(site.url, 'timeout = "5s"').client() as client:
        assert "Please" in client.get(f"{site.url}/long-redirect").text


STEPS = (f'fields = {{ user = "{USER}" }}\nsteps = [{{ fields = {{ pass = {{ env = "SITE_PASSWORD" }} }} }}, '
         '{ totp = { otp = { env = "SITE_TOTP" } } }]')


def test_a_login_in_steps_with_a_one_time_code(site: Site, open_with: OpenSession,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_TOTP", TOTP_SECRET)
    session = open_with(site.url, login=f'url = "{site.url}/login-steps"\n{STEPS}')
    session.ensure_login()
    assert "you are in" in private(session, site)
    site.expire()
    session.ensure_login()  # the site knows the device and asks no code
    assert len(site.seen("/steps/pass", "POST")) == 2
    assert len(site.seen("/steps/code", "POST")) == 1


@pytest.mark.parametrize(("steps", "words"), [
    (STEPS.replace(USER, "nobody"), "the user name or password was not accepted: “We do not know you.”"),
    (STEPS.replace("SITE_PASSWORD", "SITE_TOTP"), "the user name or password was not accepted: “Wrong password.”"),
    (STEPS.partition(", { totp")[0] + "]", "the site asks for a one-time code; add a step with totp"),
    (STEPS, "the one-time code was not accepted: “That code is no longer valid.”")])
def test_a_refusal_names_the_step_that_failed(site: Site, open_with: OpenSession, monkeypatch: pytest.MonkeyPatch,
                                         steps: str, words: str) -> None:
    monkeypatch.setenv("SITE_TOTP", "ABCDEFGH")
    assert words in str(refused(open_with(site.url, login=f'url = "{site.url}/login-steps"\n{steps}')))


@pytest.mark.parametrize(("now_s", "code"), [(59, "94287082"), (1111111109, "07081804"), (20000000000, "65353130")])
def test_one_time_codes_are_those_of_rfc_6238(now_s: int, code: str) -> None:
    seed = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    assert totp_code(f"otpauth://totp/Site:me?secret={seed}&digits=8", now_s) == code
    assert totp_code(f"{seed[:16].lower()} {seed[16:]}", now_s) == code[2:]


def test_an_80_bit_secret_gives_codes() -> None:
    assert totp_code("JBSW Y3DP EHPK 3PXP", 0) == totp_code("otpauth://TOTP/x?secret=JBSWY3DPEHPK3PXP&algorithm=sha1", 29) == "282760"


def test_a_counter_based_secret_is_refused_with_the_reason() -> None:
    with pytest.raises(UsageError, match="counter-based codes"):
        totp_code("otpauth://hotp/x?secret=JBSWY3DPEHPK3PXP&counter=1", 0)


@pytest.mark.parametrize("secret", ["", "not base32!", "otpauth://totp/x?secret=ABCDEFGH&digits=x",
                                    "otpauth://totp/x?secret=ABCDEFGH&algorithm=MD5", "otpauth://totp/x?secret=",
                                    "otpauth://totp/x?secret=ABCDEFGH&period=0", "otpauth://totp/x?secret=ABCDEFGH&period=-30"])
def test_an_invalid_secret_for_codes_is_reported(secret: str) -> None:
    with pytest.raises(UsageError, match="not a valid secret for one-time codes"):
        totp_code(secret, 0)


API = ('json = true\ntoken = { jmes = "data.token" }\ntoken_header = "X-Token: t={token}"\n'
       'check = { jmes = "name" }')


def test_an_apis_token_is_sent_to_its_own_origin_and_kept(site: Site, open_with: OpenSession, tmp_path: Path) -> None:
    login = f'url = "{site.url}/api/login"\ncheck_url = "{site.url}/api/me"\n{API}'
    open_with(site.url, login=login).ensure_login()
    again = open_with(site.url, login=login)
    again.ensure_login()
    assert len(site.seen("/api/login", "POST")) == 1
    assert stat.S_IMODE((tmp_path / "var/jars/s.token").stat().st_mode) == 0o600
    elsewhere = site.url.replace("127.0.0.1", "localhost")
    with again.client() as client:
        assert client.get(f"{site.url}/redirect?to={elsewhere}/echo").ok
        assert client.get(f"{elsewhere}/redirect?to={site.url}/api/me").ok
    assert "x-token" in site.seen("/redirect")[0].headers
    assert "x-token" not in site.seen("/echo")[0].headers
    assert "x-token" not in site.seen("/redirect")[1].headers
    site.expire()
    again.ensure_login()
    assert len(site.seen("/api/login", "POST")) == 2


def test_an_apis_refusal_is_reported_in_its_words(site: Site, open_with: OpenSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_PASSWORD", "wrong-one")
    error = refused(open_with(site.url, login=f'url = "{site.url}/api/login"\n{API}'))
    assert "the user name or password was not accepted: “bad credentials”; correct login.fields" in str(error)
