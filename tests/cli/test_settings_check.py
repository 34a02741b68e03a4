"""Tests that `pipeline check` reports, without the network, every problem that would only show later."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner, Result

from pipeline.cli.main import main
from pipeline.cli.settings_check.user_code import check as check_user_code
from pipeline.settings import load
from tests.servers.pages import PageSite
from tests.servers.program import Program

SPIDER = '[spiders.s]\nstart = "http://site.lan/"\ndownload = ["a.pdf"]\n'
ITEMS = SPIDER + "[spiders.s.items]\neach = \"li\"\nkey = [\"title\"]\nfields = { title = \"a\", price = { css = \"b\", type = \"price\" } }\n"
WATCH = '[spiders.s]\nspider = "watch"\nstart = "http://site.lan/"\n'
FEED = '[spiders.s]\nspider = "feed"\nstart = "http://site.lan/feed"\n'
DIGEST = '[digests.d]\nspiders = ["s"]\nto = ["me@site.lan"]\n'
SHARED = '[pipeline]\ndatabase = "postgresql://127.0.0.1/x"\nstorage = "s3://files"\n[cluster]\n'
SERVER = '[mail]\nhost = "mail.lan"\n'

REMARKS: dict[str, tuple[str, str]] = {  # what the settings say, and the beginning and a part of the line that check prints
    "procrastinate on SQLite": ('[cluster]\ndispatcher = "procrastinate"\n' + SPIDER, "cluster.dispatcher: procrastinate needs PostgreSQL, and the database is SQLite; set [pipeline] database"),
    "a secret in an unset variable": (SERVER + 'user = "me"\npassword = { env = "NO_SUCH_VARIABLE" }\n' + SPIDER,
                                      "mail.password: the environment variable NO_SUCH_VARIABLE is not set; set the variable"),
    "a secret of a step in an unset variable": (SPIDER + 'render = { steps = [{ fill = "#q", value = { env = "NO_SUCH_VARIABLE" } }] }\n',
                                                "spiders.s.render.steps[0].value: the environment variable NO_SUCH_VARIABLE is not set; set the variable"),
    "a secret in a missing file": (SPIDER + '[spiders.s.login]\nurl = "http://site.lan/login"\ncheck = "a"\nfields = { u = "me", password = { file = "no-file" } }\n',
                                   "spiders.s.login.fields.password: the secret cannot be read from the file"),
    "an empty secret": (SERVER + 'user = "me"\npassword = { file = "empty" }\n' + SPIDER, "mail.password: the secret is empty; correct the file empty"),
    "an invalid secret for codes": (SPIDER + '[spiders.s.login]\nurl = "http://site.lan/login"\ncheck = "a"\ntotp = { code = { file = "word" } }\n',
                                    "spiders.s.login.totp.code: not a valid secret for one-time codes; use the Base32 letters"),
    "a data_dir that cannot be created": ('[pipeline]\ndata_dir = "/proc/x"\n' + SPIDER, "pipeline.data_dir: the folder /proc/x cannot be created in /proc"),
    "a data_dir that is a file": ('[pipeline]\ndata_dir = "word"\n' + SPIDER, "pipeline.data_dir: "),
    "a browser that is missing": ('[browser]\nexecutable = "no-such-browser"\n' + SPIDER + 'render = "browser"\n', "browser.executable: no-such-browser is not a program (spiders.s)"),
    "a device that Playwright does not know": (SPIDER + 'render = { device = "iPhone 99" }\n', "spiders.s.render.device: there is no device named 'iPhone 99'; use a name that"),
    "a wait beyond the time limit": (SPIDER + 'timeout = "30s"\nrender = { wait_for = ["20s"], steps = [{ wait = "10s" }] }\n',
                                     "spiders.s.render.steps: the page is waited for 30 s, but it fails after `timeout` (30 s); wait less"),
    "no spider": ("", "spiders: there is no spider, so there is nothing to do; write one with `pipeline new spider NAME --from URL`"),
    "a DKIM key that is no key": (SERVER + '[mail.dkim]\ndomain = "site.lan"\nselector = "a"\nkey = { file = "word" }\n' + SPIDER,
                                  "mail.dkim.key: the secret is not a private key in PEM format"),
    "a user without a password": (SERVER + 'user = "me"\n' + SPIDER, "mail.user: `user` has no effect without a password; add password = "),
    "a login without a server": ('[mail]\nuser = "me"\npassword = { file = "word" }\n' + SPIDER, "mail: `user` has no effect: without `host` or `provider`"),
    "a program that is missing": ('[mail]\ncommand = ["no-such-program"]\n' + SPIDER, "mail.command: there is no program no-such-program"),
    "authorities that are missing": (SPIDER + 'ca_file = "no-file"\n', "spiders.s.ca_file: the file "),
    "authorities that are no certificates": (SPIDER + 'ca_file = "word"\n', "spiders.s.ca_file: the file "),
    "cookies that are missing": (SPIDER + 'cookies = { file = "no-file" }\n', "spiders.s.cookies.file: the file "),
    "cookies that are no cookies": (SPIDER + 'cookies = { file = "word" }\n', "spiders.s.cookies.file: "),
    "a Cookie header that is none": (SPIDER + 'cookies = { header = { file = "word" } }\n', "spiders.s.cookies.header: the format of the cookies is not supported"),
    "a certificate that is missing": ('[heartbeat]\ncertificate = "no-file"\n' + SPIDER, "heartbeat.certificate: the file "),
    "the key of another certificate": ('[heartbeat]\ncertificate = "one.pem"\nkey = "other.key"\n' + SPIDER,
                                       "heartbeat.certificate: the key does not belong to the certificate"),
    "templates that are missing": (SPIDER + DIGEST + 'templates = "no-folder"\n', "digests.d.templates: the folder "),
    "one port for two servers": ("[heartbeat]\nport = 8123\n[demo]\nport = 8123\n" + SPIDER, "demo.port: the demo site and the heartbeat cannot both use the port 8123"),
    "a group that never receives anything": (SPIDER + DIGEST + 'changes = ["new"]\n[[digests.d.groups]]\nto = ["you@site.lan"]\nchanges = ["gone"]\n',
                                             "digests.d.groups[0].changes: the group never receives a change"),
    "a field of a filter": (ITEMS + DIGEST + 'where = ["prize < 3"]\n', "digests.d.where: no spider of the digest has a field 'prize' (did you mean 'price'?); known: title, price"),
    "a field of a group's filter": (ITEMS + DIGEST + '[[digests.d.groups]]\nto = ["you@site.lan"]\nwhere = ["x = 3"]\n',
                                    "digests.d.groups[0].where: no spider of the digest has a field 'x'"),
    "a part of a field in a filter": (ITEMS + DIGEST + 'where = ["price.amount < 3"]\n', "digests.d.where: no spider of the digest has a field 'price.amount'"),
    "a field of a chart": (FEED + DIGEST + 'charts = ["price"]\n', "digests.d.charts: no spider of the digest has a field 'price'; known: id, url, title"),
    "a field to show": (ITEMS + DIGEST + 'show = ["title", "prise"]\n', "digests.d.show: no spider of the digest has a field 'prise' (did you mean 'price'?)"),
    "the label of a field": (FEED + DIGEST + 'labels = { price = "Price" }\n', "digests.d.labels: no spider of the digest has a field 'price'; known: id, url, title"),
    "a field of a spider's display": (ITEMS + '[spiders.s.display]\ngood = { cost = "down" }\n', "spiders.s.display.good: the items have no field 'cost'"),
    "a filter without items": (SPIDER + DIGEST + 'where = ["price < 3"]\n', "digests.d.where: no spider of the digest has a field 'price'; known: none"),
    "a field that a feed does not have, in spite of its rules": (FEED + 'items = { fields = { price = "b" } }\n' + DIGEST + 'where = ["price < 3"]\n',
                                                                "digests.d.where: no spider of the digest has a field 'price'; known: id, url, title"),
    "a field of a path": (FEED + 'downloads = { path = "{item.titel}/{name}" }\n', "spiders.s.downloads.path: the items have no field 'titel' (did you mean 'title'?)"),
    "a part of a field of a path": (ITEMS + '[spiders.s.downloads]\npath = "{item.price.amuont}/{name}"\n',
                                    "spiders.s.downloads.path: the items have no field 'price.amuont'"),
    "a key field of a feed": (FEED + 'items = { key = ["link"] }\n', "spiders.s.items.key: the items have no field 'link'"),
    "a database of another kind": ('[pipeline]\ndatabase = "oracle://x/y"\n' + SPIDER, "pipeline.database: "),
    "a proxy that a browser elsewhere cannot use": ('[browser]\nremote = "http://browser.lan:9222"\n[proxies]\noffice = "http://127.0.0.1:3128"\n' + SPIDER
                                                    + 'render = "browser"\nproxy = "office"\n', "spiders.s.proxy: the browser on another machine cannot use the proxy"),
}
WARNINGS: dict[str, tuple[str, str]] = {
    "a browser for nobody": ("[browser]\nstart_timeout = \"9s\"\n" + SPIDER, "browser: has no effect, because no spider has `render`"),
    "pages to render that no URL is": (ITEMS.replace("download", 'render = { only = ["/app", "^x"] }\ndownload'),
                                       "spiders.s.render.only: matches no URL in `start`, and the spider follows no links, so a page is rendered only if"),
    "what only rules can leave out of a file": (WATCH + "watch = { without = \":lexbor-contains('x')\" }\nrender = { pdf = true }\n",
                                                "spiders.s.watch.without[0]: \":lexbor-contains('x')\" is left out of the text, but not of the PDF file"),
    "a picture of data": (WATCH + 'watch = { part = { jmes = "a" }, visual = true }\n', "spiders.s.watch.visual: compares pictures of the whole page, because `watch.part` selects no element"),
    "a screenshot of data": (WATCH + 'watch = { part = { header = "etag" } }\nrender = { screenshot = "part" }\n', "spiders.s.render.screenshot: shows the whole page, because `watch.part` selects"),
    "what only rules can leave out": (WATCH + "watch = { without = \":lexbor-contains('x')\", visual = true }\n",
                                      "spiders.s.watch.without[0]: \":lexbor-contains('x')\" is left out of the text, but not of the picture"),
    "a browser elsewhere": ('[browser]\nremote = "http://browser.lan:9222"\n' + SPIDER + 'render = "browser"\n',
                            "browser.remote: the browser on another machine cannot use the guard proxy"),
    "a queue on SQLite": (SPIDER.replace("start", 'queue = "eu"\nstart', 1), "spiders.s.queue: has no effect, because the database is SQLite, so that one service performs all runs"),
    "a queue without a spider": ('[pipeline]\ndatabase = "postgresql://here/d"\n[cluster]\nqueues = ["defaults"]\n' + SPIDER,
                                 "cluster.queues: no spider has the queue 'defaults' (did you mean 'default'?); queues of spiders: default"),
    "a cluster without PostgreSQL": ("[cluster]\nworker = false\n" + SPIDER, "cluster.worker: has no effect, because the database is SQLite"),
    "a queue that no worker takes": (SHARED + 'queues = ["us"]\n' + SPIDER + 'queue = "us"\n[spiders.t]\nstart = "http://site.lan/"\ndownload = ["a.pdf"]\nqueue = "eu"\n', "spiders.t.queue: no worker with these settings takes the queue 'eu'"),
    "nodes without shared files": (SHARED.partition("storage")[0] + "[cluster]\nworker = false\n" + SPIDER, "pipeline.storage: each node keeps its files to itself"),
    "a password in a URL": ('[spiders.s]\nspider = "watch"\nstart = ["http://me:hidden@site.lan/"]\n', "spiders.s.start[0]: the URL contains a password"),
    "a password of a proxy in its URL": ('[proxies]\noffice = "http://me:hidden@127.0.0.1:3128"\n' + SPIDER + 'proxy = "office"\n', "proxies.office: the URL contains a password"),
    "a password of a monitor in its URL": ('[heartbeat]\nbeat = "https://me:hidden@monitor.lan/1"\n' + SPIDER, "heartbeat.beat: the URL contains a password"),
    "a proxy with a user and no password": ('[proxies.office]\nurl = "http://127.0.0.1:3128"\nuser = "me"\n' + SPIDER + 'proxy = "office"\n', "proxies.office: the proxy has `user`, but no `password`"),
    "a login with a user and no password": (SPIDER + '[spiders.s.login]\nurl = "http://site.lan/login"\ncheck = "a"\nfields = { username = "me" }\n',
                                            "spiders.s.login.fields: the login sends username, but no password"),
    "a placeholder of a site": ('[spiders.s]\nspider = "watch"\nstart = "https://example.com/news"\n', "spiders.s.start[0]: https://example.com/news is a placeholder"),
    "a placeholder of an address": (SPIDER + '[digests.d]\nspiders = ["s"]\nto = ["Me <you@example.com>"]\n', "digests.d.to[0]: Me <you@example.com> is a placeholder"),
    "a rule of another spider": (FEED + 'follow = ["a"]\n', 'spiders.s.follow: has no effect, because spider = "feed" does not use `follow`; remove it'),
    "a rule that needs items": (FEED.replace('"feed"', '"sitemap"') + 'download = ["a"]\n',
                                'spiders.s.download: has no effect, because spider = "sitemap" fetches pages only with a table [spiders.s.items]'),
    "an unknown argument": (FEED + "args = { file = true }\n", "spiders.s.args.file: spider = \"feed\" has no argument 'file' (did you mean 'files'?); known: files, ids"),
    "a proxy that no spider uses": ('[proxies]\noffice = "http://127.0.0.1:3128"\n' + SPIDER, 'proxies.office: no spider uses the proxy; add proxy = "office"'),
    "an archive of no spider": (FEED + '[archive]\nkeep = "30d"\n', "archive: no spider has `archive`, so no page is archived"),
    "an archive that is kept for an hour": (FEED + 'archive.keep = "1h"\n', "spiders.s.archive.keep: archived pages are deleted as soon as their day (UTC) has ended"),
    "an archive without room": (FEED + 'archive = true\n[archive]\nquota = "1B"\n', "archive.quota: archived pages are deleted as soon as they are seven days old"),
    "a password of a timestamp server in its URL": (FEED + 'archive = true\n[archive]\ntimestamp_url = "http://me:hidden@tsa.lan/"\n',
                                                    "archive.timestamp_url: the URL contains a password, which everybody who can read the settings file can see; replace the whole URL"),
    "a schedule that is over": (FEED + 'schedule = { when = "@daily", until = 2026-01-01 }\n', "spiders.s.schedule.until: the schedule ended on 2026-01-01"),
    "an unknown placeholder of a subject": (SPIDER + DIGEST + 'subject = "{nam}: {summary}"\n',
                                            "digests.d.subject: {nam} is not a placeholder (did you mean 'name'?), so the subject contains this text; known: {name}"),
    "pictures without a field": (ITEMS + DIGEST + "images = true\n", "digests.d.images: no field of the spiders is a picture"),
    "a chart of dates": (ITEMS.replace("{ title =", '{ day = { css = "time", type = "date" }, title =') + DIGEST + 'charts = ["day"]\n',
                         "digests.d.charts: the field 'day' is no number, so it has no chart"),
    "a format that the type never has": (ITEMS.replace("{ title =", '{ day = { css = "time", type = "date" }, title =') + DIGEST + 'formats = { day = "price" }\n',
                                         "digests.d.formats: day = \"price\" has no effect, because the field has type = \"date\"; remove it"),
    "a direction of dates": (ITEMS.replace("{ title =", '{ day = { css = "time", type = "date" }, title =') + '[spiders.s.display]\ngood = { day = "up" }\n',
                             "spiders.s.display.good: day = \"up\" has no effect, because the field has type = \"date\""),
    "a spider that extracts nothing": ('[spiders.s]\nstart = "http://site.lan/?token=hidden"\n',
                                       "spiders.s: the spider has neither `items` nor `download`, so it only fetches pages; add a table [spiders.s.items]"),
    "an archive of changes without items": ('[spiders.s]\nstart = "http://site.lan/"\ndownload = ["a"]\narchive = "changed"\n',
                                            "spiders.s.archive: nothing is archived, because the spider finds no items, and so no page has a change; set archive = true"),
    "items that nothing identifies": (SPIDER + '[spiders.s.items]\neach = "li"\nfields = { title = "a" }\n',
                                      "spiders.s.items: `key` is missing and there is no field `url`, so an item that changes is reported as a gone item and a new one"),
    "templates without a known name": (SPIDER + DIGEST + 'templates = "spiders"\n', "digests.d.templates: the folder "),
    "a secret that others can read": (SERVER + 'user = "me"\npassword = { file = "open" }\n' + SPIDER, "mail.password: other users can access "),
}
GOOD = {
    "fields of a feed": '[spiders.s]\nspider = "feed"\nstart = "http://site.lan/"\n' + DIGEST + 'where = ["title ~ x"]\ncharts = ["summary"]\n',
    "a field that one of two spiders has": ITEMS + '[spiders.t]\nspider = "feed"\nstart = "http://site.lan/feed"\n[digests.d]\nspiders = ["s", "t"]\nto = ["me@site.lan"]\nwhere = ["price < 3"]\n',
    "a part of a price in a path": ITEMS + '[spiders.s.downloads]\npath = "{item.price.currency}/{name}"\n',
    "fields to show and one direction for all": ITEMS + '[spiders.s.display]\nhide = ["title"]\nformats = { price = "number" }\n' + DIGEST + 'show = ["price"]\ngood = "down"\n',
    "the demo's password": "[demo]\n" + SPIDER + '[spiders.s.login]\nurl = "http://site.lan/login"\ncheck = "a"\n'
                           'fields = { password = { file = "var/demo-password" } }\n',
    "pictures of pages": "[spiders.s]\nstart = 'http://site.lan/'\nrender = { screenshot = 'page' }\n",
    "pages that are only archived": "[spiders.s]\nstart = 'http://site.lan/'\narchive = true\n",
    "pages to render that a start URL is": ITEMS.replace("download", 'render = { only = ["/app", "site[.]lan"] }\ndownload'),
    "pages to render that links lead to": ITEMS.replace("download", 'follow = ["a"]\nrender = { only = "/app" }\ndownload'),
    "pages to render that details are": ITEMS.replace("download", 'render = { only = "/app" }\ndownload') + 'details = { link = "a", fields = { more = "p" } }\n',
    "pages to render in a sitemap": ITEMS.replace("start", 'spider = "sitemap"\nrender = { only = "/app" }\nstart', 1),
    "pages to render with parameters": ITEMS.replace('"http://site.lan/"', '[{ url = "http://site.lan/", params = { page = "app" } }]\nrender = { only = "app" }'),
    "a certificate with its key": '[heartbeat]\ncertificate = "one.pem"\nkey = "one.key"\n' + SPIDER,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files to which the settings refer."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spiders").mkdir()
    for name, text in (("empty", "\n"), ("word", "word!"), ("open", "secret")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o644 if name == "open" else 0o600)
    return tmp_path


@pytest.fixture(scope="module")
def certificates() -> tuple[trustme.LeafCert, trustme.LeafCert]:
    authority = trustme.CA()
    return authority.issue_cert("one.lan"), authority.issue_cert("other.lan")


def checked(folder: Path, toml: str, *options: str) -> Result:
    (folder / "settings.toml").write_text(toml, "utf-8")
    result = CliRunner().invoke(main, ["check", *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert "hidden" not in result.output
    return result


def write_certificates(folder: Path, certificates: tuple[trustme.LeafCert, trustme.LeafCert]) -> None:
    for name, certificate in zip(("one", "other"), certificates, strict=True):
        certificate.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
        certificate.private_key_pem.write_to_path(folder / f"{name}.key")


@pytest.mark.parametrize("name", REMARKS)
def test_a_problem_is_reported_with_its_key_and_its_fix(name: str, folder: Path, certificates: tuple[trustme.LeafCert, trustme.LeafCert]) -> None:
    toml, line = REMARKS[name]
    write_certificates(folder, certificates)
    result = checked(folder, toml)
    assert result.exit_code == 2, result.output
    (found,) = [found for found in result.stderr.splitlines() if "warning: " not in found]
    assert found.startswith(f"settings.toml: {line}")
    assert "; " in found
    assert "1 problem" in result.stdout


@pytest.mark.parametrize("name", WARNINGS)
def test_something_suspicious_is_a_warning(name: str, folder: Path) -> None:
    toml, line = WARNINGS[name]
    result = checked(folder, toml)
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith(f"settings.toml: warning: {line}"), result.stderr
    assert result.stdout.endswith("no problems, 1 warning\n")
    assert checked(folder, toml, "--strict").exit_code == 2


@pytest.mark.parametrize("name", GOOD)
def test_settings_that_work_are_not_criticized(name: str, folder: Path, certificates: tuple[trustme.LeafCert, trustme.LeafCert]) -> None:
    write_certificates(folder, certificates)
    result = checked(folder, GOOD[name])
    assert (result.exit_code, result.stderr) == (0, "")


def test_all_problems_are_reported_at_once_even_if_some_values_are_invalid(folder: Path) -> None:
    result = checked(folder, FEED + 'delay = 3\nca_file = "no-file"\n' + DIGEST + 'where = ["x = 1"]\n[mail]\nhost = "mail.lan"\nport = "x"\nuser = "me"\n')
    keys = [line.split(": ")[1] for line in result.stderr.splitlines()]
    assert keys == ["mail.port", "spiders.s.delay", "digests.d.where", "mail.user", "spiders.s.ca_file"]
    assert "5 problems" in result.stdout


def test_secrets_can_be_left_out_and_are_counted(folder: Path) -> None:
    result = checked(folder, REMARKS["a secret in an unset variable"][0], "--offline-secrets")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "settings.toml: 1 spider, 0 digests: no problems, 1 secret not checked\n"


CODE = {
    "broken": ("import scrapy\n\ndef f(:\n", "SyntaxError in spiders/broken.py, line 3: invalid syntax"),
    "needs": ("import scrapy\nimport no_such_package\n", "spiders/needs.py, line 2: it imports no_such_package, which is not installed"),
    "zero": ("X = 1 / 0\n", "spiders/zero.py, line 1: ZeroDivisionError: division by zero"),
    "exits": ("import sys\nsys.exit(3)\n", "spiders/exits.py, line 2: it ends the process (SystemExit)"),
    "dies": ("import os\nos._exit(3)\n", "the process ended with exit code 3 while importing spiders.dies:Own"),
    "killed": ("import os\nos.kill(os.getpid(), 9)\n", "the process was killed by signal 9 while importing spiders.killed:Own"),
    "asks": ("input('name? ')\n", "spiders/asks.py, line 1: EOFError"),
    "large": ("x = bytearray(4 * 10**9)\n", "spiders/large.py, line 1: MemoryError"),
    "other": ("import scrapy\nclass Owl(scrapy.Spider): pass\n", "has no spider class Own (did you mean 'Owl'?)"),
    "text": ("Own = 'text'\n", "has Own, but it is not a subclass of scrapy.Spider"),
    "arguments": (("import scrapy\nclass Own(scrapy.Spider):\n    start_urls = ['http://x.lan/']\n    def __init__(self, shop):\n        super().__init__()\n"
                  "    def parse(self, response): pass\n"), "the constructor of the class does not accept `args`: missing a required argument: 'shop'"),
    "idle": ("import scrapy\nclass Own(scrapy.Spider): pass\n", "the spider has nothing to fetch"),
    "good": ("import scrapy\nprint('noise')\nclass Own(scrapy.Spider):\n    start_urls = ['http://x.lan/']\n    def parse(self, response): pass\n", ""),
}


def test_the_code_of_users_is_checked_in_other_processes(program: Program) -> None:
    spiders, templates = program.folder / "spiders", program.folder / "templates"
    spiders.mkdir()
    templates.mkdir()
    for name, (text, _) in CODE.items():
        (spiders / f"{name}.py").write_text(text)
    (templates / "digest.html").write_text("<p>{{ name }}</p>\n{% if name %}\n")
    (templates / "digest.txt").write_text("{% for section in sections %}\n{{ section.titel }}\n{% endfor %}\n")
    program.write("".join(f'[spiders.{name}]\nspider = "spiders.{name}:Own"\n' for name in [*CODE, "missing"])
                  + '[digests.d]\nspiders = ["good"]\nto = ["me@site.lan"]\ntemplates = "templates"\n')
    done = program.run("check")
    assert done.returncode == 2
    assert "noise" not in done.stdout + done.stderr
    lines = {line.split(": ")[1]: line for line in done.stderr.splitlines() if "templates" not in line}
    for name, (_, words) in CODE.items():
        assert words in lines.get(f"spiders.{name}.spider", ""), done.stderr
    assert "there is no module spiders.missing; put the module beside settings.toml" in lines["spiders.missing.spider"]
    assert "spiders.good.spider" not in lines
    assert "digest.html, line 2: the template cannot be rendered: Unexpected end of template" in done.stderr
    assert "digest.txt, line 2: the template cannot be rendered: " in done.stderr


def test_code_that_hangs_is_reported_after_the_time_limit(tmp_path: Path) -> None:
    (tmp_path / "spiders").mkdir()
    (tmp_path / "spiders" / "hangs.py").write_text("while True: pass\n")
    (tmp_path / "settings.toml").write_text('[spiders.s]\nspider = "spiders.hangs:Own"\n')
    (found,) = check_user_code(load(tmp_path / "settings.toml"), time_limit_s=0.5)
    assert (found.key, found.what) == ("spiders.s.spider", "importing spiders.hangs:Own did not end within 0.5 s")


def test_without_the_secrets_an_error_of_user_code_is_masked_if_it_shows_one(folder: Path) -> None:
    (folder / "hidden").write_text("hunter22hunter")
    (folder / "spiders").mkdir(exist_ok=True)
    (folder / "spiders" / "shows_it.py").write_text(f"raise ValueError(open({str(folder / 'hidden')!r}).read())\n")
    toml = SERVER + 'user = "me"\npassword = { file = "hidden" }\n[mail.dkim]\ndomain = "site.lan"\nselector = "a"\nkey = { env = "NOT_SET" }\n'
    result = checked(folder, toml + '[spiders.s]\nspider = "spiders.shows_it:Own"\n', "--offline-secrets")
    assert "ValueError: ****" in result.stderr
    assert "hunter22" not in result.output


def test_a_problem_in_a_file_of_settings_d_names_the_file(folder: Path) -> None:
    (folder / "settings.d").mkdir()
    (folder / "settings.d" / "s.toml").write_text(SPIDER + 'ca_file = "no-file"\ndelay = 3\n')
    result = checked(folder, "")
    assert [line.partition(": the ")[0] for line in result.stderr.splitlines()] == [
        "settings.d/s.toml: spiders.s.delay: 3 is not a duration; write a duration such as \"30s\", \"15m\", \"2h\" or \"7d\"",
        "settings.d/s.toml: spiders.s.ca_file"]


def test_a_certificate_that_has_expired_is_a_warning(folder: Path) -> None:
    certificate = trustme.CA().issue_cert("one.lan", not_after=datetime(2026, 1, 2, tzinfo=UTC))
    write_certificates(folder, (certificate, certificate))
    result = checked(folder, GOOD["a certificate with its key"])
    assert result.exit_code == 0
    assert result.stderr.startswith("settings.toml: warning: heartbeat.certificate: the certificate expired on 2026-01-02; renew")


def test_connect_reports_a_port_that_another_program_uses(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        other.close()  # a program that does not answer would take the time of the client's patience
        assert "heartbeat: ok" in checked(folder, f"[heartbeat]\nport = {port}\n{SPIDER}", "--connect").stdout
    with PageSite() as site:
        port = int(site.url.rpartition(":")[2])
        result = checked(folder, f"[heartbeat]\nport = {port}\n{SPIDER}", "--connect")
    assert f"heartbeat: heartbeat: port {port} on 127.0.0.1 is in use; stop the other program" in result.stdout
    assert result.exit_code == 1


def test_doctor_reports_what_check_reports(folder: Path) -> None:
    (folder / "settings.toml").write_text(ITEMS + DIGEST + 'where = ["prize < 3"]\n')
    result = CliRunner().invoke(main, ["doctor", "--offline"])
    assert "FAIL  settings: digests.d.where: no spider of the digest has a field 'prize'" in result.stdout


@pytest.mark.parametrize("xpath", ["tr[td]", "following-sibling::td", "dc:title", "li[1]", "a/text()", "@href", ".", "..", "h2 | h3", "string(.)", "./a", "*"])
def test_xpath_is_not_taken_for_css(xpath: str, folder: Path) -> None:
    result = checked(folder, ITEMS.replace('title = "a"', f"title = {{ xpath = '{xpath}' }}"))
    assert (result.exit_code, result.stderr) == (0, "")
