"""Mistakes in the settings of a session: each is reported with its place and fix, and without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import SettingsError
from pipeline.settings import load

START = 'start = "https://a.example/"'
URL = 'url = "https://a.example/in"'
GOOD = f'{URL}\ncheck = "a"\nfields = {{ u = "me" }}'


def said(folder: Path, text: str) -> list[str]:
    file = folder / "settings.toml"
    file.write_text(text, "utf-8")
    with pytest.raises(SettingsError) as caught:
        load(file)
    return [line.partition("settings.toml: ")[2] for line in str(caught.value).splitlines()]


@pytest.mark.parametrize(("proxy", "words"), [
    *[(f'p = "{url}"', 'proxies.p: not a proxy URL; write a URL such as "http://host:port" (schemes: http, https, socks5, socks5h)')
      for url in ("htp://x", "http://", "http://x:99999", "http://x:0", "x:80", "socks4://x:1", "http://x:80/path",
                  "http://a b:1", "http://u:geheim@x y", "http://:80", "http://x:1?y")],
    ('p = ["http://a:1", "nope"]', "proxies.p[1]: not a proxy URL"),
    ("p = []", "proxies.p: the list is empty; give at least one URL"),
    ('p = { url = "http://u:geheim@x:1", user = "a" }', "proxies.p: the proxy has two user names; give the user name either in `url` or in `user`"),
    ('p = { url = "http://x:1", password = { env = "A" } }', "proxies.p: the proxy has a password, but no user name; add `user`"),
    ('p = { url = "http://x:1", user = "a", password = "geheim" }', "proxies.p.password: secrets are not allowed in the settings file"),
    ('p = { url = "http://x:1", usr = "a" }', "proxies.p.usr: unknown key (did you mean 'user'?)"),
    ("p = 3", "proxies.p: should be text, a table or a list, found 3"),
    ('environment = "http://x:1"', "proxies.environment: the name \"environment\" is reserved for the environment variables http_proxy and no_proxy")])
def test_proxies(tmp_path: Path, proxy: str, words: str) -> None:
    (line,) = said(tmp_path, f"[proxies]\n{proxy}\n[spiders.s]\n{START}\n")
    assert line.startswith(words)
    assert "geheim" not in line


@pytest.mark.parametrize(("login", "words"), [
    (f'{URL}\nfields = {{ u = "me" }}', "login.check: is missing"),
    (f'{URL}\ncheck = "a"', "login: the login has no fields to fill in"),
    (f'{URL}\ncheck = "a"\nfields = {{}}', "login: the login has no fields to fill in: set `fields` or `totp`, or set `form` if the form has only a button"),
    ('url = "ftp://a"\ncheck = "a"\nfields = { u = "me" }', "login.url: 'ftp://a' is not an http(s) URL"),
    (f'{URL}\ncheck = "a[["\nfields = {{ u = "me" }}', "login.check: 'a[[' is not a CSS selector"),
    (f'{GOOD}\nform = "f["', "login.form: 'f[' is not a CSS selector"),
    (f"{GOOD}\nsteps = [{{}}]", "login.steps[0]: the step fills in no fields"),
    (f'{GOOD}\njson = true\nform = "f"', "login: `steps`, `totp` and `form` cannot be used with json = true, which sends the fields to an API instead of a form"),
    (f'{GOOD}\ntoken_header = "X-Token: {{token}}"', "login: `token_header` can be used only together with `token`, the selector of the token in the response"),
    (f'{GOOD}\ntoken = {{ jmes = "t" }}\ntoken_header = "Bearer"', "login.token_header: 'Bearer' is not a header; write a header such as"),
    (f'{GOOD}\ntotp = {{ code = "geheim" }}', "login.totp.code: secrets are not allowed in the settings file"),
    (f"{GOOD}\nexpired.status = [99]", "login.expired.status: 99 is not an HTTP status (100 to 599)"),
    (f"{GOOD}\nexpired.sttaus = [401]", "login.expired.sttaus: unknown key (did you mean 'status'?)"),
    (f'{GOOD}\nexpired.present = "//a["', "login.expired.present: '//a[' is not an XPath expression")])
def test_logins(tmp_path: Path, login: str, words: str) -> None:
    (line,) = said(tmp_path, f"[spiders.s]\n{START}\n[spiders.s.login]\n{login}\n")
    assert line.startswith(f"spiders.s.{words}")
    assert "geheim" not in line


@pytest.mark.parametrize(("request_", "words"), [
    ('headers = { "A b" = "c" }', "headers: 'A b' is not a valid name of a header; use letters, digits and -"),
    ('headers = { A = "b\\nc" }', "headers: the value of A contains a line break or control character; remove this character"),
    ('headers = { Host = "b" }', "headers: the header Host is set automatically; remove this header from the settings"),
    ('headers = { Authorization = "Bearer geheim" }',
     "headers: the value of Authorization is a secret, and secrets are not allowed in the settings file"),
    ('headers = { X-Api-Key = "geheim" }', "headers: the value of X-Api-Key is a secret, and secrets are not allowed in the settings file"),
    ('cookies = { "a b" = "c" }', "cookies: 'a b' is not a valid cookie name"),
    ('cookies = { a = "geheim;c" }', "cookies: the value of the cookie a contains a semicolon or a control character"),
    ('method = "GE T"', "method: 'GE T' is not an HTTP method, such as GET or POST"),
    ('auth = { user = "a:b", password = { env = "P" } }', "auth: a user name cannot contain a colon"),
    ('auth = { type = "digest" }', "auth: authentication with type = \"digest\" needs `user` and `password`"),
    ('form = { a = "b" }, body = "x"', ": give at most one of `form`, `json` and `body` (found form, body)"),
    ("params = 3", "params: should be a table or a list, found 3")])
def test_requests(tmp_path: Path, request_: str, words: str) -> None:
    (line,) = said(tmp_path, f'[spiders.s]\nstart = {{ url = "https://a.example/", {request_} }}\n')
    assert line.startswith(f"spiders.s.start{'' if words.startswith(':') else '.'}{words}")
    assert "geheim" not in line


@pytest.mark.parametrize(("setting", "words"), [
    ('insecure_tls = ["https://x/"]', "insecure_tls: 'https://x/' is not a host; write only the name, such as \"files.lan\""),
    ("insecure_tls = 3", "insecure_tls: should be true or false or a list, found 3"),
    ('hosts = ["http://a/b"]', "hosts[0]: 'http://a/b' is not a host; write a host such as"),
    ('hosts = ["a:99999"]', "hosts[0]: 'a:99999' is not a host"),
    ('user_agent = "a\\nb"', "user_agent: the value contains a line break or control character; remove this character"),
    ('quiet = ["06:00-06:00"]', "quiet: '06:00-06:00' are not quiet hours; write a period such as \"22:00-06:00\""),
    ("banned.status = [1000]", "banned.status: 1000 is not an HTTP status"),
    ('proxy = "offce"', "proxy: no proxy named 'offce'; known: none"),
    ('cookies = { file = "a", header = { env = "B" } }', "cookies: give either `file` or `header`")])
def test_spiders(tmp_path: Path, setting: str, words: str) -> None:
    (line,) = said(tmp_path, f"[spiders.s]\n{START}\n{setting}\n")
    assert line.startswith(f"spiders.s.{words}")
