"""What went wrong with a login, and what is said of it, through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from tests.servers.pages import Answer, Asked, PageSite

FORM = "<form method=post><input type=hidden name=csrf value=1><input name=user><input type=password name=pass></form>"
OUT = "<a href=/logout>out</a>"


def site_that_answers(answer: Answer) -> PageSite:
    def login(asked: Asked) -> Answer:
        return answer if asked.method == "POST" else Answer(FORM)
    return PageSite({"/login": login, "/": Answer("<p>start</p>")})


def settings(folder: Path, site: PageSite, extra: str = "") -> str:
    file = folder / "settings.toml"
    file.write_text(f"""
        [pipeline]
        data_dir = "data"
        [spiders.s]
        start = "{site.url}/"
        robots = false
        [spiders.s.items.fields]
        text = "p"
        [spiders.s.login]
        url = "{site.url}/login"
        check = "a[href*=logout]"
        {extra}
        """ + ('fields = { user = "me", pass = { env = "SITE_PASSWORD" } }' if "fields" not in extra else ""))
    return str(file)


SET = {"Set-Cookie": "sid=1; Path=/"}
MATRIX = [
    ("right password, wrong check, a greeting", Answer("<div class=flash>Welcome back, me!</div>", headers=SET),
     "login.check matches nothing on the page after it"),
    ("right password, wrong check, a form to change it", Answer(
        "<h1>me</h1><form><input type=password name=new></form>", headers=SET), "login.check matches nothing"),
    ("wrong password, 403 beside a CSRF field", Answer(f"<p class=error>Wrong password</p>{FORM}", 403),
     "the user name or password was not accepted: “Wrong password”"),
    ("wrong password, 401", Answer("<p>who?</p>", 401), "the user name or password was not accepted"),
    ("wrong password, 200", Answer(f"<p class=error>Wrong password</p>{FORM}"), "the user name or password was not accepted"),
    ("the form refused", Answer("<h1>Forbidden</h1><p>CSRF verification failed.</p>", 403), "refused the form (CSRF check)"),
    ("a captcha", Answer("<div class=g-recaptcha></div>"), "asks for a captcha"),
    ("a wall of scripts", Answer("<noscript>Please enable JavaScript</noscript><script>go()</script>"), "runs scripts"),
    ("locked", Answer(f"<p class=error>Your account is locked</p>{FORM}"), "locked or logged in too often"),
    ("a code", Answer("<form><input name=otp autocomplete=one-time-code></form>"), "asks for a one-time code"),
    ("a Secure cookie over http", Answer(FORM, headers={"Set-Cookie": "sid=1; Secure; Path=/"}), "no cookie of the site is kept"),
    ("a cookie of another domain", Answer(FORM, headers={"Set-Cookie": "sid=1; Domain=other.example"}),
     "no cookie of the site is kept"),
]


@pytest.mark.parametrize("command", [["login"], ["run"], ["check", "--connect"]], ids=" ".join)
@pytest.mark.parametrize(("answer", "said"), [row[1:] for row in MATRIX], ids=[row[0] for row in MATRIX])
def test_what_went_wrong_is_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer, said: str,
                                         command: list[str]) -> None:
    monkeypatch.setenv("SITE_PASSWORD", "geheim")
    if command != ["login"] and said not in MATRIX[0][2]:
        pytest.skip("the message is the same: one of each is enough")
    with site_that_answers(answer) as site:
        file = settings(tmp_path, site)
        names = ["s"] if command != ["check", "--connect"] else []
        result = CliRunner().invoke(main, [command[0], "--settings", file, *command[1:], *names])
        told = result.output + str(result.exception)
    assert result.exit_code != 0
    assert said in told


def test_a_session_that_holds_is_said_to_hold_and_fresh_tries_the_password(tmp_path: Path,
                                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    def login(asked: Asked) -> Answer:
        if asked.method != "POST":
            return Answer(FORM)
        return Answer(OUT if b"geheim" in asked.body else f"<p class=error>Wrong password</p>{FORM}",
                      headers=SET if b"geheim" in asked.body else {})

    def start(asked: Asked) -> Answer:
        return Answer(OUT if "sid=1" in asked.headers.get("Cookie", "") else "<p>stranger</p>")
    with PageSite({"/login": login, "/": start}) as site:
        file = settings(tmp_path, site)
        monkeypatch.setenv("SITE_PASSWORD", "geheim")

        def told(*options: str) -> str:
            result = CliRunner().invoke(main, ["login", "--settings", file, *options, "s"])
            return result.output + str(result.exception or "")
        assert "s: logged in" in told()
        monkeypatch.setenv("SITE_PASSWORD", "falsch")
        assert "the session still holds; the password was not tried" in told()
        assert "not accepted: “Wrong password”" in told("--fresh")
        assert "the session still holds" in told()  # what it had is not lost
        monkeypatch.setenv("SITE_PASSWORD", "geheim")
        assert "s: logged in" in told("--fresh")


def test_a_token_rule_that_finds_nothing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_PASSWORD", "geheim")
    with PageSite({"/login": lambda asked: Answer('{"access": "abc", "ok": true}', headers={"Content-Type": "application/json"})}) as site:
        file = settings(tmp_path, site, 'json = true\ntoken = { jmes = "token" }').replace("", "")
        Path(file).write_text(Path(file).read_text().replace('check = "a[href*=logout]"', 'check = { jmes = "ok" }'))
        result = CliRunner().invoke(main, ["login", "--settings", file, "s"])
    assert "login.token finds nothing in the answer" in result.output + str(result.exception)
