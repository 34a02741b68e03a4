"""`pipeline import urlwatch` and `webchanges`: jobs become spiders that run.

Whatever is lost is said.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli.imports.formats.watch_filters import FilterChain
from pipeline.cli.imports.imported import ImportedSpider
from pipeline.cli.main import main
from tests.cli.imports.conftest import Importer
from tests.servers.pages import Answer, PageSite

NOTES = "<ul id=list><li>one, 3 minutes ago<li>Sponsored: buy<li>three</ul><p>end</p>"


def test_a_job_of_urlwatch_watches_what_its_filters_left(imports: Importer, copied: Callable[..., Path], site: PageSite) -> None:
    tables = imports("urlwatch", copied("urls.yaml", "urlwatch.yaml"))
    site.pages = {"/notes": NOTES}
    assert "no problems" in imports.checked()
    imports.ran("release-notes")
    item, = map(json.loads, imports.program.run("items", "release-notes").stdout.splitlines())
    assert item["text"] == "one,", "two items at most, without the line of a sponsor, without the time"
    assert tables["spiders"]["release-notes"] | {"watch": None} == {
        "spider": "watch", "tags": ["work", "Büro"], "schedule": "every 6h", "start": [f"{site.url}/notes"], "timeout": "20s", "watch": None}
    assert "job 1 (Release notes) -> release-notes: filter: sort: lines are compared in the order of the page" in imports.out
    assert "job 1 (Release notes) -> release-notes: max_tries: `after` in [alerts]" in imports.out
    assert "job 4 (Home): not carried over: it runs a command" in imports.out


def test_no_secret_of_a_job_is_in_the_settings(imports: Importer, copied: Callable[..., Path], site: PageSite) -> None:
    tables = imports("urlwatch", copied("urls.yaml", "urlwatch.yaml"))
    for secret in ("s3cret", "k3y", "t0ken", "c00kie", "pr0xy", "p4ss", "sm7p", "t3legram"):
        assert secret not in imports.text + imports.out, secret
    spider = tables["spiders"]["grosse-preis"]
    assert spider["auth"] == {"user": "me", "password": {"env": "GROSSE_PREIS_PASSWORD"}}
    assert spider["headers"] == {"Authorization": {"env": "GROSSE_PREIS_AUTHORIZATION"}, "X-Shop": "blue"}
    assert spider["start"] == [{"url": f"{site.url}/price?size=1", "cookies": {"session": {"env": "GROSSE_PREIS_COOKIE_SESSION"}}}]
    assert tables["proxies"] == {"proxy": {"url": "http://proxy.example:3128", "user": "crawler", "password": {"env": "PROXY_PASSWORD"}}}
    assert "GROSSE_PREIS_AUTHORIZATION: the header Authorization of Größe & Preis" in imports.out
    assert "url: api_key: the parameter looks like a secret" in imports.out
    assert "data: password: the field looks like a secret" in imports.out


def test_the_secrets_are_sent_from_the_variables_that_the_import_names(imports: Importer, copied: Callable[..., Path], site: PageSite) -> None:
    file = copied("urls.yaml")
    file.write_text(file.read_text("utf-8").replace("http_proxy: http://crawler:pr0xy@proxy.example:3128\n", ""), "utf-8")
    imports("urlwatch", file, "--to", "me@site.example")
    site.pages = {"/price": "<h1>5 EUR</h1>"}
    imports.ran("grosse-preis")
    asked = next(each for each in site.asked if each.path.startswith("/price"))
    assert asked.headers["Cookie"] == "session=grosse_preis_cookie_session-value"
    assert asked.headers["X-Shop"] == "blue"
    assert asked.headers["User-Agent"] == "Mozilla/5.0"


def test_the_configuration_gives_the_recipients_the_defaults_and_a_mail_server_to_compare(imports: Importer, copied: Callable[..., Path]) -> None:
    tables = imports("urlwatch", copied("urls.yaml", "urlwatch.yaml"))
    assert tables["digests"]["urlwatch"]["to"] == ["me@site.example", "you@site.example"]
    assert list(tables["digests"]["urlwatch"]["spiders"]) == list(tables["spiders"])
    assert tables["spiders"]["grosse-preis"]["timeout"] == "33s"
    assert '# host = "smtp.site.example"' in imports.text
    assert '# password = { env = "MAIL_PASSWORD" }' in imports.text
    assert "the reporter telegram: `notify` of a digest" in imports.out


def test_a_browser_job_is_rendered_and_a_disabled_one_has_no_schedule(imports: Importer, copied: Callable[..., Path]) -> None:
    tables = imports("urlwatch", copied("urls.yaml"), "--to", "me@site.example", "--schedule", "daily at 06:00")
    app = tables["spiders"]["app"]
    assert app["render"] == {"wait_for": ["networkidle", "#root .ready"]}
    assert app["schedule"] == "daily at 06:00"
    disabled, = (table for table in tables["spiders"].values() if table["start"][0] == app["start"][0] or "jmes" in str(table.get("watch")) if table is not app)
    assert "schedule" not in disabled
    assert disabled["watch"] == {"part": {"jmes": "[0].name"}}
    assert "filter: shellpipe: no program is run on a page" in imports.out


def test_a_job_of_webchanges_is_read_in_its_dialect(imports: Importer, copied: Callable[..., Path], site: PageSite) -> None:
    tables = imports("webchanges", copied("jobs.yaml"), "--to", "me@site.example")
    site.pages = {"/prices": "<table><tr><td>pen<td>5 EUR (net)<tr><td>old pen<td>4 EUR (net)<tr><td>ink<td>7 USD</table>",
                  "/api": lambda asked: Answer(json.dumps({"sent": json.loads(asked.body), "page": asked.path}), headers={"Content-Type": "application/json"})}
    imports.checked()
    imports.ran("prices", "api")
    item, = map(json.loads, imports.program.run("items", "prices").stdout.splitlines())
    assert item["text"] == "pen | 5 EUR (net)"
    api, = (each for each in site.asked if each.path.startswith("/api"))
    assert (api.method, api.path, json.loads(api.body)) == ("POST", "/api?page=2", {"query": "pens"})
    board = tables["spiders"]["board"]
    assert board["render"] == {"wait_for": [".card", "1.5s"], "block": ["fonts", "images"]}
    assert board["auth"] == {"user": "me", "password": {"env": "BOARD_PASSWORD"}}
    assert tables["proxies"][board["proxy"]] == {"url": "socks5://127.0.0.1:1080"}
    assert tables["spiders"]["api"]["revalidate"] is False
    for line in ("prices: note: it is only kept here: of the shop", "prices: additions_only: digests show added and removed lines", "prices: differ: digests show the changed lines",
                 "prices: filters: re.findall: whole lines with a match are compared", "board: block_elements: websocket cannot be blocked",
                 "board: wait_for_selector: the state 'hidden' cannot be waited for", "board: init_script: no script is run in the page",
                 "api: data: token: the field looks like a secret", "api: ignore_connection_errors: a page that fails is tried again"):
        assert line in imports.out, line


@pytest.mark.parametrize(("filters", "watch", "lost"), [
    ("css:h1,html2text,strip", {"part": "h1"}, []),
    ([{"element-by-id": "main"}, {"element-by-class": "price"}], {"part": '[id="main"] [class="price"]'}, []),
    ([{"element-by-tag": "body"}, "html2text"], None, []),
    ([{"xpath": "//h2/text()"}], {"part": {"xpath": "//h2/text()"}}, []),
    ([{"css": {"selector": "li", "skip": 1}}], {"part": {"xpath": "(//li)[position() > 1]", "type": "html"}}, []),
    ([{"css": "a, b"}, {"css": "i"}], {"part": "a, b"}, ["filter: css"]),
    ([{"css": {"selector": "body", "exclude": "a, i"}}], {"part": "body", "without": ["body a", "body i"]}, []),
    ([{"xpath": {"path": "//p", "exclude": "//a"}}], {"part": {"xpath": "//p", "type": "html"}}, ["filter: xpath: exclude"]),
    ([{"re.sub": "href"}, "html2text"], None, ["filter: re.sub"]),
    (["html2text", {"re.sub": {"pattern": "(a)(b)", "repl": r"\2\1"}}], None, ["filter: re.sub"]),
    (["html2text", {"re.sub": {"pattern": "[0-9]+", "repl": "N"}}], {"ignore": ["(?:[0-9]+)"]}, ["filter: re.sub"]),
    (["html2text", {"grep": "(?i)news"}], {"ignore": ["^(?!.*(?i:news)).*"]}, []),
    (["html2text", {"grep": "("}], None, ["filter: grep"]),
    ([{"jq": ".a | map(.b)"}], None, ["filter: jq"]),
    ([{"css": None}, 7], None, ["filter: css"]),
    ("unknown", None, ["filter: unknown"]),
])
def test_filters_become_the_table_watch_or_are_named(filters: object, watch: object, lost: list[str]) -> None:
    from pipeline.cli.imports.imported import Imported
    spider = ImportedSpider("s", "s", "job 1", {})
    chain = FilterChain(spider)
    chain.add(filters, "filter")
    chain.finish(Imported("urlwatch", "urls.yaml"))
    assert spider.table.get("watch") == watch
    assert [key for key, _ in spider.left_out] == lost


def test_a_job_of_hooks_and_a_second_proxy_are_named(imports: Importer, tmp_path: Path) -> None:
    (tmp_path / "urls.yaml").write_text("kind: custom-login\nurl: http://a.example/\nusername: me\npassword: s3cret\n"
                                        "http_proxy: http://one.example:1\nhttps_proxy: socks5://two.example:2\n")
    tables = imports("urlwatch", tmp_path / "urls.yaml", "--to", "me@site.example")
    assert "kind: custom-login is a job of hooks.py, which is not run" in imports.out
    assert "https_proxy: a spider has one proxy, which is proxy; this one is in [proxies.proxy-2]" in imports.out
    assert "password: it has no counterpart" in imports.out
    assert tables["spiders"]["a"]["proxy"] == "proxy"
    assert "s3cret" not in imports.text + imports.out


def test_a_package_that_is_missing_is_named_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipeline.settings.models.extraction.find_spec", lambda name: None)
    (tmp_path / "settings.toml").write_text("")
    (tmp_path / "urls.yaml").write_text("navigate: http://a.example/\n")
    arguments = ["import", "urlwatch", "urls.yaml", "--to", "me@site.example"]
    shown = CliRunner().invoke(main, arguments)
    assert shown.exit_code == 0
    assert 'render = "browser"' in shown.stdout
    assert "pip install 'crawl-to-inbox[browser]'" in shown.stderr
    refused = CliRunner().invoke(main, [*arguments, "--write"])
    assert refused.exit_code == 2
    assert "then import the file again; nothing was written" in refused.stderr
    assert not (tmp_path / "settings.d").exists()
