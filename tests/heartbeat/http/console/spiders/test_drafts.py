"""Tests of adding and editing spiders on the pages of a running service, also by an attacker."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from lxml import html

from pipeline.heartbeat.http.request_bodies import DRAFT_FORM_BYTES
from pipeline.heartbeat.token import load_or_create_token
from tests.cli.test_mend import NAMES, new, old
from tests.servers import ports
from tests.servers.pages import Answer, PageSite
from tests.servers.program import Program, eventually

SETTINGS = """
[spiders.books]
start = "{url}/"
robots = false
items.each = "li"
items.key = ["name"]
items.fields = {{ name = "b" }}
"""
EVIL = '</textarea><script>alert(1)</script><img src=x onerror="alert(2)">'


@dataclass
class Console:
    """A running service and a browser that has signed in."""

    program: Program
    site: PageSite
    browser: requests.Session
    proof: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.program.port}"

    def get(self, path: str) -> requests.Response:
        return self.browser.get(self.url + path, timeout=60)

    def post(self, path: str, **fields: str) -> requests.Response:
        return self.browser.post(self.url + path, data={"proof": self.proof, **fields}, timeout=60, allow_redirects=False)

    def api(self, path: str, token: str = "", **body: object) -> requests.Response:
        token = token or load_or_create_token(self.program.data).reveal()
        return requests.post(f"{self.url}/api/v1{path}", json=body, headers={"Authorization": f"Bearer {token}"}, timeout=60)

    def draft(self, name: str, *more: str) -> str:
        return "\n".join([f"[spiders.{name}]", f'start = "{self.site.url}/"', "robots = false", *more, 'items.each = "li"', 'items.key = ["name"]',
                          'items.fields = { name = "b" }', ""])

    def file(self, name: str) -> Path:
        return self.program.folder / "settings.d" / f"{name}.toml"


def main_text(answer: requests.Response) -> str:
    return " ".join(" ".join(html.fromstring(answer.text).xpath("//main//text()")).split())


def area(answer: requests.Response) -> str:
    return str(html.fromstring(answer.text).xpath("string(//textarea)")).removeprefix("\n")


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    program = Program(tmp_path_factory.mktemp("console"), ports.free_port())
    books = "".join(f"<li><b>Book {number}</b> <i>{number} €</i></li>" for number in range(9))
    with PageSite({"/": f"<html><title>Books</title><body><ul>{books}</ul>"}) as site, requests.Session() as browser:
        program.write(SETTINGS.format(url=site.url))
        program.serve()
        browser.trust_env = False
        first = browser.get(f"http://127.0.0.1:{program.port}/?token={load_or_create_token(program.data).reveal()}", timeout=10)
        proof = re.search(r'name="proof" value="([^"]+)"', first.text)
        assert proof is not None
        try:
            yield Console(program, site, browser, proof[1])
        finally:
            assert program.stop() == 0


def test_scraped_text_stays_text_and_what_was_typed_stays_in_the_form(console: Console) -> None:
    rows = "".join(f'<li class="x"><b>{number} &lt;/textarea&gt;&lt;script&gt;alert(1)&lt;/script&gt;</b> <i>{number} €</i></li>' for number in range(9))
    console.site.pages["/evil"] = f"<html><title>E</title><body><ul>{rows}</ul>"
    found = console.post("/new-spider/suggest", url=f"{console.site.url}/evil", session="books", name="evil")
    assert found.status_code == 200
    assert "<script>alert" not in found.text
    assert "0 </textarea><script>alert(1)</script>" in main_text(found)
    again = console.post("/new-spider/save", toml=EVIL, url=EVIL)
    assert again.status_code == 422
    assert area(again) == EVIL
    assert not html.fromstring(again.text).xpath("//main//script | //main//img")
    form = console.post("/new-spider/suggest", url="ftp://x", name=EVIL, schedule="every 1h")
    assert form.status_code == 422
    assert html.fromstring(form.text).xpath("string(//input[@name='name']/@value)") == EVIL
    assert not console.file("evil").exists()


def test_nobody_else_can_press_the_buttons(console: Console) -> None:
    toml = console.draft("stolen")
    for path in ("/new-spider/suggest", "/new-spider/draft", "/new-spider/try", "/new-spider/save", "/spiders/books/save", "/spiders/books/try"):
        assert requests.post(console.url + path, data={"toml": toml, "url": console.site.url}, timeout=30).status_code == 403, path
        refused = console.browser.post(console.url + path, data={"toml": toml, "proof": "wrong"}, timeout=30)
        assert refused.status_code == 403, path
        refused = console.browser.post(console.url + path, data={"toml": toml, "proof": console.proof}, headers={"Origin": "https://evil.example"}, timeout=30)
        assert refused.status_code == 403, path
    assert console.browser.post(f"{console.url}/new-spider/save", data={"toml": "#" * DRAFT_FORM_BYTES, "proof": console.proof}, timeout=30).status_code == 413
    assert console.browser.post(f"{console.url}/spiders/books/run", data={"toml": "#" * 20_000, "proof": console.proof}, timeout=30).status_code == 413
    assert not console.file("stolen").exists()


def test_a_draft_reaches_nothing_private_that_the_settings_do_not_name(console: Console) -> None:
    with PageSite({"/": "<li><b>secret</b></li>"}) as private:
        console.site.pages["/away"] = Answer(status=302, headers={"Location": f"{private.url}/"})
        toml = console.draft("spy")
        public = toml.replace(console.site.url, "https://films.example").replace("robots", "public_only = true\nrobots")
        for draft, url in ((toml, f"{console.site.url}/away"), (toml, f"{private.url}/"), (public, f"{console.site.url}/")):
            answer = console.post("/new-spider/try", toml=draft, url=url)
            assert answer.status_code == 422, url
            assert "private address" in main_text(answer), url
        named = console.post("/new-spider/save", toml=toml.replace(console.site.url, private.url))
        assert "add public_only = true" in main_text(named)
        assert private.asked == []
    assert not console.file("spy").exists()


def test_of_many_saves_of_one_name_one_wins_and_no_file_is_overwritten(console: Console) -> None:
    drafts = [console.draft("race", f'user_agent = "number {number}"') for number in range(3)]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda toml: console.post("/new-spider/save", toml=toml), drafts))
    assert [answer.status_code for answer in answers].count(303) == 1, [main_text(answer) for answer in answers if answer.status_code != 303]
    winner = next(toml for toml, answer in zip(drafts, answers, strict=True) if answer.status_code == 303)
    assert console.file("race").read_text("utf-8") == winner
    assert console.file("race").stat().st_mode == (console.program.folder / "settings.toml").stat().st_mode
    assert not list(console.file("race").parent.glob(".*"))
    page = console.get(next(answer for answer in answers if answer.status_code == 303).headers["Location"])
    assert "The spider was added: its settings are in settings.d/race.toml. In use now: spiders.race" in main_text(page)
    assert "was added" not in main_text(console.get("/spiders/race?saved=0123456789abcdef"))


def test_an_edit_keeps_the_file_as_it_was_and_never_undoes_the_change_of_somebody_else(console: Console) -> None:
    assert console.post("/new-spider/save", toml=console.draft("new")).status_code == 303
    page = console.get("/spiders/new/edit")
    version = html.fromstring(page.text).xpath("string(//input[@name='version']/@value)")
    before = area(page)
    assert before == console.file("new").read_text("utf-8")
    saved = console.post("/spiders/new/save", toml=before.replace("robots", 'delay = "1s"\nrobots').replace("\n", "\r\n"), version=version)
    assert saved.status_code == 303, main_text(saved)
    assert 'delay = "1s"\nrobots' in console.file("new").read_text("utf-8")
    assert "In use now: spiders.new.delay" in main_text(console.get(saved.headers["Location"]))
    assert console.file("new").with_suffix(".toml.bak").read_text("utf-8") == before
    late = console.post("/spiders/new/save", toml=before, version=version)
    assert late.status_code == 409
    assert "was changed in the meantime" in main_text(late)
    assert area(late) == before
    other = console.get("/spiders/books/edit")
    assert "The table is in settings.toml, line" in main_text(other)
    assert not html.fromstring(other.text).xpath("//textarea")
    assert console.post("/spiders/books/save", toml=console.draft("books"), version="").status_code in (409, 422)
    assert console.get("/spiders/nobody/edit").status_code == 404
    lines = [line for line in console.program.run("audit").stdout.splitlines() if "spider new" in line]
    assert any("save" in line and "done" in line for line in lines), lines
    assert any("failed" in line and "in the meantime" in line for line in lines), lines


def test_a_folder_that_cannot_be_written_is_said_and_the_text_can_be_copied(console: Console) -> None:
    folder = console.program.folder / "settings.d"
    kept = folder.rename(folder.with_name("kept")) if folder.exists() else None
    folder.symlink_to("/sys/kernel")  # a folder that even root cannot write
    try:
        answer = console.post("/new-spider/save", toml=console.draft("stuck"))
        assert answer.status_code == 409
        assert "cannot be written" in main_text(answer)
        assert "Copy the text below to this file" in main_text(answer)
        assert area(answer) == console.draft("stuck")
    finally:
        folder.unlink()
        if kept is not None:
            kept.rename(folder)


def test_a_script_tries_and_saves_a_spider_and_looks_for_new_rules(console: Console) -> None:
    toml = console.draft("scripted", 'tags = ["api"]')
    tried = console.api("/try", toml=toml).json()
    assert (tried["status"], tried["counts"]["items"], tried["items"][8]) == (200, 9, {"name": "Book 8"})
    assert [(rule["name"], rule["count"]) for rule in tried["rules"]] == [("items.each", 9), ("items.fields.name", 9)]
    saved = console.api("/spiders", toml=toml)
    assert saved.status_code == 201, saved.text
    assert saved.headers["Location"] == "/api/v1/spiders/scripted"
    assert saved.json()["changed"] == ["spiders.scripted"]
    assert console.file("scripted").read_text("utf-8") == toml
    assert console.api("/spiders", toml=toml).status_code == 409
    wrong = console.api("/spiders", toml=toml.replace("scripted", "wrong").replace("robots", 'spider = "os:path"\nrobots'))
    assert wrong.status_code == 422
    assert [(error["name"], error["reason"][:7]) for error in wrong.json()["errors"]] == [("spiders.wrong.spider", "line 3:")]
    reader = console.program.run("token", "create", "reader", "--read-only").stdout.strip()
    assert console.api("/spiders", reader, toml=toml.replace("scripted", "read")).status_code == 403
    mended = console.api("/spiders/books/mend")
    assert (mended.status_code, mended.json()["id"], mended.json()["saved"]) == (200, "", None)
    checked = console.api("/check", toml='[spiders.deep]\nstart = "https://a.example/"\nitems.fields.x = { jmes = "' + "(" * 9000 + '" }\n').json()
    assert (checked["valid"], "nested too deeply" in checked["lines"][0]) == (False, True)
    mistyped = console.post("/new-spider/suggest", url="htp://me:tippfehler-7@films.example")
    assert (mistyped.status_code, "tippfehler-7" in main_text(mistyped)) == (422, False)
    audited = console.program.run("audit").stdout
    assert "tippfehler-7" not in audited
    assert re.search(r"save +spider scripted +done|save.*spider scripted.*done", audited), audited


def test_new_rules_are_written_only_as_somebody_has_seen_them(console: Console) -> None:
    toml = console.draft("lamps").replace(f"{console.site.url}/", f"{console.site.url}/lamps").replace('"li"', '"li.lamp"').replace('["name"]', '["url"]').replace(
        '{ name = "b" }', '{ title = "h3 a", url = "h3 a::attr(href)" }')
    assert console.post("/new-spider/save", toml=toml).status_code == 303
    console.site.pages["/lamps"] = old(NAMES)
    ran = console.post("/spiders/lamps/run").headers["Location"]
    eventually(lambda: "succeeded" in console.get(ran).text, every_s=0.2)
    console.site.pages["/lamps"] = new(NAMES)
    page = console.post("/spiders/lamps/mend")
    number = html.fromstring(page.text).xpath("string(//input[@name='id']/@value)")
    assert number
    assert "12 of 12" in main_text(page)
    assert "not proposed any more" in main_text(console.post("/spiders/lamps/apply", id="0" * 32))
    assert console.file("lamps").read_text("utf-8") == toml
    console.file("lamps").write_text(toml.replace('"li.lamp"', '"ul li.lamp"'))
    assert "was changed meanwhile" in main_text(console.post("/spiders/lamps/apply", id=number))
    console.file("lamps").write_text(toml)
    mended = console.api("/spiders/lamps/mend", apply=True).json()
    assert mended["id"] == number
    assert mended["saved"]["changed"][0] == "spiders.lamps.items.each.css"
    assert 'items.each = "tr"' in console.file("lamps").read_text("utf-8")
    assert "not proposed any more" in main_text(console.post("/spiders/lamps/apply", id=number))


def test_a_page_without_a_list_can_be_watched_as_a_whole(console: Console) -> None:
    console.site.pages["/terms"] = "<html><title>Terms</title><body><h1>Terms</h1><p>We may change this.</p>"
    found = console.post("/new-spider/suggest", url=f"{console.site.url}/terms", session="books", schedule="every 1h", name="terms")
    assert area(found) == f'[spiders.terms]\nspider = "watch"\nschedule = "every 1h"\nstart = ["{console.site.url}/terms"]\nrobots = false\n'
    assert "It cannot be saved" not in main_text(found)
