"""Tests that no mistake of a new user stays silent.

`pipeline check` reports it, or the command or the run's line says it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli.main import main
from tests.servers.pages import PageSite
from tests.servers.ports import free_port
from tests.servers.program import Program

SPIDER = '[spiders.s]\nstart = "http://site.lan/"\ndownload = ["a.pdf"]\n'
ITEMS = '[spiders.s]\nstart = "http://site.lan/"\n[spiders.s.items]\neach = "li"\n'
DIGEST = '[digests.d]\nspiders = ["s"]\nto = ["me@site.lan"]\n'

IN_THE_SETTINGS: dict[str, tuple[str | bytes, str]] = {  # what the file contains, and what check says
    "a typo in a key": ('[spiders.s]\nstrat = "http://site.lan/"\n', "spiders.s.strat: unknown key (did you mean 'start'?)"),
    "a typo in a table": ('[spider.s]\nstart = "http://site.lan/"\n', "spider: unknown key (did you mean 'spiders'?)"),
    "a key in the wrong table": (SPIDER + 'to = ["me@site.lan"]\n', "spiders.s.to: unknown key here; `to` is a key of [alerts], [digests.NAME], [[digests.NAME.groups]]"),
    "another name of a key": ('[spiders.s]\nurl = "http://site.lan/"\n', "spiders.s.url: unknown key; write `start` instead"),
    "a rule in the wrong table": (SPIDER + 'each = "li"\n', "spiders.s.each: unknown key; write `items.each` instead"),
    "another name of the recipients": (SPIDER + DIGEST.replace("to =", "email ="), "digests.d.email: unknown key; write `to` instead"),
    "another name of the mail server": (SPIDER + '[mail]\nserver = "mail.lan"\n', "mail.server: unknown key; write `host` instead"),
    "a login written as user and password": (SPIDER + '[spiders.s.login]\nurl = "http://site.lan/"\ncheck = "a"\nuser = "me"\n',
                                             "spiders.s.login.user: unknown key; write the fields of the login form as fields = { user = … }"),
    "a login without a check": (SPIDER + '[spiders.s.login]\nurl = "http://site.lan/"\nfields = { user = "me" }\n',
                                "spiders.s.login.check: is missing: selector that matches only on pages for a logged-in user"),
    "a wrong schedule": (SPIDER + 'schedule = "hourly"\n', "spiders.s.schedule: 'hourly' is not a schedule; did you mean \"@hourly\"?"),
    "an interval of 0": (SPIDER + 'schedule = "every 0s"\n', "spiders.s.schedule: the interval '0s' is not between one second and ten years"),
    "a missing secret": (SPIDER + '[mail]\nhost = "mail.lan"\nuser = "me"\npassword = { env = "NO_SUCH_VARIABLE" }\n',
                         "mail.password: the environment variable NO_SUCH_VARIABLE is not set; set the variable"),
    "a secret instead of its name": (SPIDER + '[mail]\nhost = "mail.lan"\nuser = "me"\npassword = { env = "hunter2!" }\n',
                                     "mail.password: `env` does not contain the name of an environment variable; write the name"),
    "a path with a variable": ('[pipeline]\ndata_dir = "$HOME/var"\n' + SPIDER, "warning: pipeline.data_dir: names of environment variables are not replaced"),
    "the URL of a proxy in a spider": (SPIDER + 'proxy = "http://me:hidden@127.0.0.1:3128"\n', "spiders.s.proxy: the URL of a proxy is written in [proxies], with a name"),
    "a password in the file": (SPIDER + '[mail]\nhost = "mail.lan"\nuser = "me"\npassword = "abc"\n',
                               "mail.password: secrets are not allowed in the settings file; use { env = \"NAME\" }"),
    "a folder that cannot be written": ('[pipeline]\ndata_dir = "/proc/var"\n' + SPIDER, "pipeline.data_dir: the folder /proc/var cannot be created"),
    "a module that does not exist": (SPIDER.replace("[spiders.s]", '[spiders.s]\nspider = "spiders.shp:Shop"'), "spiders.s.spider: spiders.shp:Shop: there is no module spiders.shp"),
    "a file instead of a module": (SPIDER + 'spider = "spiders/shop.py"\n', "(a module is written as \"spiders.shop:Class\")"),
    "a dot instead of a colon": (SPIDER + 'spider = "spiders.shop.Shop"\n', "(did you mean \"spiders.shop:Shop\"?)"),
    "another name of a spider": (SPIDER + 'spider = "rss"\n', "there is no built-in spider 'rss' (did you mean 'feed'?)"),
    "an unknown spider of a digest": (SPIDER + DIGEST.replace('"s"', '"t"'), "digests.d.spiders: no spider named 't'; known: s"),
    "an unknown proxy": (SPIDER + 'proxy = "offce"\n[proxies]\noffice = "http://127.0.0.1:3128"\n', "spiders.s.proxy: no proxy named 'offce' (did you mean 'office'?)"),
    "a key that is no field": (ITEMS + 'key = ["url"]\nfields = { title = "a" }\n', "spiders.s.items: `key` names 'url', which is not a field; the fields are: title"),
    "each without fields": (ITEMS, "spiders.s: `items.fields` is missing: name at least one field"),
    "items that nothing identifies": (ITEMS + 'fields = { title = "a" }\n', "warning: spiders.s.items: `key` is missing and there is no field `url`"),
    "a spider that extracts nothing": ('[spiders.s]\nstart = "http://site.lan/"\n', "warning: spiders.s: the spider has neither `items` nor `download`"),
    "an empty selector": (ITEMS + 'fields = { title = "" }\n', "spiders.s.items.fields.title: the selector is empty"),
    "CSS as XPath": (ITEMS + 'fields = { title = { xpath = "h2.title > a" } }\n', "warning: spiders.s.items.fields.title.xpath: 'h2.title > a' looks like CSS"),
    "XPath as CSS": (ITEMS + 'fields = { title = { css = "//h2" } }\n', "this looks like XPath: write it as a text, or as xpath = …"),
    "a pseudo-class of jQuery": (ITEMS + 'key = ["title"]\nfields = { title = "a:first" }\n',
                                 "spiders.s.items.fields.title: 'a:first' is not a CSS selector: The pseudo-class :first is unknown"),
    "an attribute after @": (ITEMS + 'fields = { title = "a@href" }\n', "write an attribute as ::attr(NAME)"),
    "a date format of another language": (ITEMS + 'key = ["day"]\nfields = { day = { css = "a", type = "date", format = "DD.MM.YYYY" } }\n',
                                          "spiders.s.items.fields.day.format: 'DD.MM.YYYY' is not a date format: it contains no %"),
    "JMESPath on HTML": (ITEMS + 'fields = { title = { jmes = "title" } }\n', "warning: spiders.s.items.fields.title: the field reads JSON with jmes, but `each` selects elements of HTML"),
    "an empty file": ("", "spiders: there is no spider, so there is nothing to do; write one with `pipeline new spider NAME --from URL`"),
    "a table without a name": (SPIDER + '[digests]\nspiders = ["s"]\nto = ["me@site.lan"]\n', "digests.spiders: should be a table; write a header such as [digests.NAME]"),
    "a list of tables": ('[[spiders]]\nstart = "http://site.lan/"\n', "spiders: should be a table; write a header such as [spiders.NAME]"),
    "a header without an end": ("[spiders.s\n", "Expected ']' at the end of a table declaration (at line 1, column 11); write a header such as [spiders.news], with ] at its end"),
    "a text without quotes": ("[spiders.s]\nstart = http://site.lan/\n", "Invalid value (at line 2, column 9); write a text in double quotes"),
    "a text without its end": ('[spiders.s]\nstart = "http://site.lan/\n', "(at line 2, column 26); the closing quote of the text is missing"),
    "typographic quotes": ("[spiders.s]\nstart = “http://site.lan/”\n", "(at line 2, column 9); the line has typographic quotes"),
    "a path of Windows": ('[pipeline]\ndata_dir = "C:\\Users\\me"\n', "(at line 2, column 17); in double quotes, \\ has a special meaning"),
    "a time without quotes": (SPIDER + "schedule = 7:00\n", "(at line 4, column 13); only a comment may follow on this line; write a text, also a time"),
    "an invisible character": ("[spiders.s]\nstart\u00a0= \"http://site.lan/\"\n", "(at line 2, column 6); the line has an invisible or full-width character at column 6"),
    "a full-width character": ("[spiders.s]\nstart ＝ \"http://site.lan/\"\n", "(at line 2, column 7); the line has an invisible or full-width character at column 7"),
    "a merge that is not finished": ("<<<<<<< HEAD\n" + SPIDER, "(at line 1, column 1); the file contains the marks of a merge that is not finished"),
    "True in upper case": (SPIDER + "robots = True\n", "(at line 4, column 10); write true or false, in lower case and without quotes"),
    "no value": (SPIDER + "proxy =\n", "(at line 4, column 8); the value is missing; remove the key to use its default"),
    "YAML": ("spiders:\n  s:\n    start: http://site.lan/\n", "(at line 1, column 8); write key = value, not key: value as in YAML"),
    "JSON": ('{"spiders": {}}', "(at line 1, column 1); a line is a header such as [spiders.news], a key = value, or a comment"),
    "a list without its end": ('[spiders.s]\nstart = ["http://site.lan/"\nfollow = ["a"]\n', "write a comma between two entries of a list, and ] at its end"),
    "a table in braces on two lines": (SPIDER + 'items = { each = "li",\nfields = { title = "a" } }\n', "a table in braces { … } must be on one line"),
    "a table that is there twice": (SPIDER + SPIDER, "there are two tables [spiders.s]; move the keys of both into one of them"),
    "a key that is there twice": (SPIDER + 'start = "http://site.lan/"\n', "(at line 4, column 27); this key is set twice in the same table"),
    "an encoding of Windows": ('[pipeline]\ncontact = "Müller"\n'.encode("cp1252"), "the settings file is not UTF-8 text (byte 23); save the file in the encoding UTF-8"),
    "a file in UTF-16": (SPIDER.encode("utf-16"), "the settings file is not UTF-8 text (byte 0); it is UTF-16; save the file in the encoding UTF-8"),
    "a list where a text is wanted": (SPIDER + 'user_agent = ["me"]\n', "spiders.s.user_agent: should be text; write one text, without brackets"),
    "a text where a list is wanted": (SPIDER + 'follow = "a.next"\n', "spiders.s.follow: should be a list, found 'a.next'; write [\"a.next\"]"),
    "a selector in brackets": (ITEMS.replace('"li"', '["li"]') + 'fields = { title = "a" }\n', "spiders.s.items.each: should be a text or a table; write one text, without brackets"),
    "a URL without a scheme": ('[spiders.s]\nstart = "site.lan/news"\n', "spiders.s.start: 'site.lan/news' is not an http(s) URL; write https://site.lan/news"),
    "a URL with one slash": ('[spiders.s]\nstart = "http:/site.lan"\n', "spiders.s.start: 'http:/site.lan' is not an http(s) URL; write http://site.lan"),
    "a URL of this machine without a scheme": ('[spiders.s]\nstart = "localhost:8000/news"\n', "is not an http(s) URL; write http://localhost:8000/news"),
    "a timestamp server without a scheme": (SPIDER + '[archive]\ntimestamp_url = "tsa.example.com"\n', "archive.timestamp_url: 'tsa.example.com' is not an http(s) URL"),
    "a wrong time zone": ('[pipeline]\ntimezone = "Berlin"\n' + SPIDER, "pipeline.timezone: no time zone named 'Berlin' (did you mean 'Europe/Berlin'?)"),
    "an abbreviation of a time zone": ('[pipeline]\ntimezone = "CEST"\n' + SPIDER, "pipeline.timezone: no time zone named 'CEST'; use an IANA name"),
    "a list of days that is missing": (SPIDER + 'schedule = { when = "@daily", skip = ["holidays"] }\n', "or add a list holidays to [calendars]"),
    "cookies as a text": (SPIDER + 'cookies = "hidden=1"\n', "spiders.s.cookies: should be a table; write { file = \"path\" } or { header = { env = \"NAME\" } }"),
    "a login as a text": (SPIDER + 'login = "me:hidden"\n', "spiders.s.login: should be a table\n"),
    "an address without @": (SPIDER + DIGEST.replace("me@site.lan", "me"), "digests.d.to[0]: 'me' is not an e-mail address; write an address such as \"me@site.example\""),
    "two addresses in one text": (SPIDER + DIGEST.replace("me@site.lan", "me@site.lan, you@site.lan"), "is not an e-mail address; write each address as an entry of its own"),
    "a schedule without recipients": (SPIDER + '[digests.d]\nspiders = ["s"]\nschedule = "@daily"\n', "digests.d: the digest has no recipients; add an address to `to`"),
    "a port that is too high": (SPIDER + "[heartbeat]\nport = 80000\n", "heartbeat.port: should be at most 65535, found 80000"),
    "a negative number": (SPIDER + "max_pages = -1\n", "spiders.s.max_pages: should be at least 0, found -1"),
    "a duration in words": (SPIDER + 'delay = "2 seconds"\n', "spiders.s.delay: '2 seconds' is not a duration; write \"2s\""),
    "a duration without a unit": (SPIDER + "delay = 2\n", "spiders.s.delay: 2 is not a duration; write a duration such as \"30s\""),
    "a size without its B": (SPIDER + 'max_page_size = "10M"\n', "spiders.s.max_page_size: '10M' is not a size; write \"10MB\""),
    "a value that is not allowed": (SPIDER + '[mail]\nhost = "mail.lan"\nsecurity = "ssl"\n', "mail.security: should be 'tls', 'starttls' or 'none', found 'ssl'"),
}
WORKS_ANYWAY = {
    "a byte order mark": "\ufeff" + SPIDER,
    "tabs": SPIDER.replace("\n", "\n\t").replace(" = ", "\t=\t"),
    "line ends of Windows": SPIDER.replace("\n", "\r\n"),
    "a number in quotes": SPIDER + 'max_pages = "10"\n[heartbeat]\nport = "8000"\n',
    "true in quotes": SPIDER + 'robots = "true"\n',
    "one URL without brackets": SPIDER,
}


def check(folder: Path, content: str | bytes) -> tuple[int, str]:
    """The exit code and the output of `pipeline check`."""
    (folder / "settings.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    result = CliRunner().invoke(main, ["check"])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result.exit_code, result.output


@pytest.mark.needs("chromium")
def test_check_tells_the_owner_of_a_rendered_spider_to_render_the_page_for_proposals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "`pipeline suggest http://site.lan/ --render` proposes one" in check(tmp_path, '[spiders.s]\nstart = "http://site.lan/"\nrender = "browser"\n')[1]


@pytest.mark.parametrize("mistake", IN_THE_SETTINGS)
def test_check_reports_a_mistake_in_the_settings_with_its_correction(mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content, words = IN_THE_SETTINGS[mistake]
    code, output = check(tmp_path, content)
    assert words in output
    assert "hidden" not in output
    assert code == (0 if words.startswith("warning: ") else 2)
    assert output.count("settings.toml: ") <= 3, "a mistake has no consequences that hide it"


def test_lists_that_are_nested_too_deeply_are_no_traceback(tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(f"a = {'[' * 3000}{']' * 3000}\n")
    result = CliRunner().invoke(main, ["check", "--settings", str(settings)])
    settings.unlink()  # the search for leaked secrets after each test reads every settings file
    assert (result.exit_code, "the settings file is nested too deeply" in result.output) == (2, True)


@pytest.mark.parametrize("name", WORKS_ANYWAY)
def test_what_works_is_not_criticized(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert check(tmp_path, WORKS_ANYWAY[name]) == (0, "settings.toml: 1 spider, 0 digests: no problems\n")


LOGIN = "<form method=post><input name=user><input name=password type=password></form>"
LIST = "<ul><li><a href=/1>One</a><b></b></li><li><a href=/2>Two</a><b>2</b></li></ul>"
IN_A_RUN: dict[str, tuple[str, str]] = {  # the table of the spider, and what the line of its run says
    "refused": ('start = "http://127.0.0.1:{closed}/"\nretries = 0', "Connection refused"),
    "selector": ('start = "{site}/list"\nitems = { each = ".product", fields = { title = "h2" } }', "suspect): `items.each` matched nothing on 1 page"),
    "key": ('start = "{site}/list"\nitems = { each = "li", key = ["number"], fields = { title = "a", number = "b" } }', "1 rejected); to list the rejected items, run `pipeline items key --rejects`"),
    "login": ('start = "{site}/list"\nlogin = { url = "{site}/login", fields = { user = "me", password = { env = "SITE_PASSWORD" } }, check = ".never" }',
              "after the login, the site shows the login form again"),
    "secret": ('start = "{site}/list"\nlogin = { url = "{site}/login", fields = { password = { env = "NO_SUCH_VARIABLE" } }, check = "a" }',
               "the environment variable NO_SUCH_VARIABLE is not set"),
    "module": ('spider = "spiders.nowhere:Shop"\nstart = "{site}/list"', "there is no module spiders.nowhere"),
    "syntax": ('spider = "spiders.broken:Shop"\nstart = "{site}/list"', "SyntaxError in spiders/broken.py, line 1"),
    "code": ('spider = "spiders.own:Shop"\nstart = "{site}/list"', "spiders/own.py, line 5: AttributeError: 'NoneType' object has no attribute 'strip' (on http://"),
    "feed": ('spider = "feed"\nstart = "{site}/list"', "the response is not a feed"),
    "status": ('start = "{site}/nowhere"', "404"),
}


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The line of each run of IN_A_RUN, by the name of the spider, from one `pipeline run --all`."""
    program = Program(tmp_path_factory.mktemp("runs"), free_port())
    with PageSite() as site:
        site.pages = {"/list": LIST, "/login": LOGIN}
        (program.folder / "spiders").mkdir()
        (program.folder / "spiders" / "broken.py").write_text("class Shop(:\n")
        closed = free_port()
        (program.folder / "spiders" / "own.py").write_text(
            "import scrapy\nclass Shop(scrapy.Spider):\n    def parse(self, response):\n        title = response.css('.none::text').get()\n"
            "        yield {'title': title.strip()}\n")
        program.write("".join(f"[spiders.{name}]\n{table}\n".replace("{site}", site.url).replace("{closed}", str(closed))
                              for name, (table, _) in IN_A_RUN.items()))
        done = program.run("run", "--all")
        assert done.returncode == 1, done.stdout + done.stderr
        yield {line.partition(" ")[0]: line for line in done.stdout.splitlines()}
    program.close()


@pytest.mark.parametrize("spider", IN_A_RUN)
def test_the_line_of_a_run_says_what_is_wrong(spider: str, lines: dict[str, str]) -> None:
    assert IN_A_RUN[spider][1] in lines[spider]


@pytest.mark.parametrize(("words", "answer"), [
    (("run", "shp"), "no spider named 'shp' (did you mean 'shop'?); known: shop"),
    (("digest", "dayly", "--send"), "no digest named 'dayly' (did you mean 'daily'?); known: daily"),
    (("items", "shp"), "no spider named 'shp'"), (("login", "shop"), "no `login`"), (("runn",), "No such command 'runn'")])
def test_a_command_names_what_it_does_not_know(words: tuple[str, ...], answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings.toml").write_text('[spiders.shop]\nstart = "http://site.lan/"\n[digests.daily]\nspiders = ["shop"]\nto = ["me@site.lan"]\n')
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code != 0
    assert answer in result.output


def test_a_busy_port_is_named_when_the_service_starts(program: Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        program.port = other.getsockname()[1]
        program.write(SPIDER)
        done = program.run("serve")
    assert done.returncode == 9
    assert str(program.port) in done.stderr
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "var").mkdir(mode=0o500)
    code, output = check(tmp_path, SPIDER)
    assert (code, "cannot write to" in output) == (2, True)
