"""Tests of digests that cannot be rendered completely: less content, a notice, no delay of others."""

from __future__ import annotations

import email
import random
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import default

import pytest

from pipeline.mail.digests.build import BuiltDigest
from pipeline.mail.render.render import HTML_LIMIT
from pipeline.store.health import status_queries
from pipeline.store.mail import outbox as stored
from tests.mail.conftest import built, text_of
from tests.servers.pages import Answer, PageSite
from tests.servers.program import Program, eventually
from tests.service.test_digests_and_alerts import SPIDER, mails

CHANCE = random.Random(5)
DIGITS = bytes(ord("0") + byte % 10 for byte in range(256))
IDEOGRAPHS = [chr(code) for code in range(0x4E00, 0x9000)]


def numbers(count: int) -> str:
    """Return random digits with spaces between them."""
    return " ".join(CHANCE.randbytes(count).translate(DIGITS).decode())


LARGE: dict[str, Callable[[], object]] = {
    "lines of numbers": lambda: "\n".join(numbers(130) for _ in range(250)),
    "one long line of numbers": lambda: numbers(90_000),
    "ideographs": lambda: "\n".join("".join(CHANCE.choices(IDEOGRAPHS, k=200)) for _ in range(300)),
    "what HTML escapes": lambda: "&<>\"'" * 20_000 + str(CHANCE.random()),
    "a nested list": lambda: [{"price": CHANCE.random(), "notes": ["&" * 500]} for _ in range(300)],
    "a long link": lambda: "https://x.example/" + "&" * 3000 + str(CHANCE.random()),
}


def mail_of(store, result: BuiltDigest) -> EmailMessage:
    message_id, = result.message_ids
    message, _, _ = stored.get(store, message_id)
    return email.message_from_bytes(store.files.path(message.file_key).read_bytes(), policy=default)


def changed(store, site, settings, value: Callable[[], object], *, items: int = 2, fields: int) -> BuiltDigest:
    """The digest of a run in which every field of every item changed."""
    for slot in ("first", "second"):
        site.run({str(key): {"title": f"Item {key}", **{f"field{n}": value() for n in range(fields)}} for key in range(items)})
        result = built(store, settings, slot=slot)
    return result


@pytest.mark.parametrize("kind", LARGE)
def test_any_change_stays_below_the_size_that_clients_clip(store, site, settings_from, kind) -> None:
    fields = 4 if kind in ("ideographs", "a long link") else 2  # four fields of ideographs are too long for the first amounts of detail; four links are longer than the limit
    result = changed(store, site, settings_from(), LARGE[kind], fields=fields)
    assert not result.problem
    html = text_of(mail_of(store, result), "html")
    assert len(html.encode()) < HTML_LIMIT
    assert "Item 0" in html


def test_if_no_item_fits_the_mail_has_counts_and_a_table(store, site, settings_from, tmp_path) -> None:
    settings = settings_from(digest='templates = "mine"')
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "digest.html").write_text(
        "<h1>{{ summary }}</h1>{% for section in sections %}{% for item in section['items'] %}<i>{{ 'x' * 120000 }}</i>{% endfor %}"
        "{{ section.more }}{% endfor %}", "utf-8")
    mail = mail_of(store, changed(store, site, settings, CHANCE.random, items=2, fields=2))
    assert "and 2 more, all in the attached morning-2026-11-22.csv" in text_of(mail, "html")
    table, = mail.iter_attachments()
    assert len(table.get_content().splitlines()) == 3


@pytest.mark.parametrize("broken", [
    ("digest.txt", "{{ nothing.there }}", "digest.txt, line 1: the template cannot be rendered: 'nothing' is undefined"),
    ("digest.html", "{% for %}", "digest.html, line 1: the template cannot be rendered"),
    ("digest.html", "{{ 'x' * 120000 }}", "bytes even without items; the limit is 100000"),
])
def test_if_a_template_fails_the_built_in_one_is_used(store, site, settings_from, broken) -> None:
    name, template, why = broken
    settings = settings_from(digest='templates = "mine"')
    tmp_path = settings.folder
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text(template, "utf-8")
    site.run({"1": {"title": "Book"}})
    result = built(store, settings)
    assert why in result.problem
    mail = mail_of(store, result)
    for kind in ("plain", "html"):
        assert "This digest shows less than usual, because it could not be rendered completely" in text_of(mail, kind)
        assert "Book" in text_of(mail, kind)
    with store.read() as connection:
        problem = status_queries.digest_problem(connection, "morning")
    assert problem is not None
    assert why in problem.error
    (tmp_path / "mine" / name).unlink()
    site.run({"1": {"title": "Book"}, "2": {"title": "Another"}})
    assert not built(store, settings, slot="s2").problem
    with store.read() as connection:
        assert status_queries.digest_problem(connection, "morning") is None


def test_the_service_sends_a_reduced_digest_and_an_alert_about_it(program: Program) -> None:
    pages = {"/": Answer("<p><b>Book</b></p>")}
    with PageSite(pages) as site:
        program.write(SPIDER.format(url=site.url).replace("every 1s", "every 1h") + """
[digests.broken]
spiders = ["shop"]
to = ["me@example.com"]
templates = "mine"
subject = "[{name}] {summary}"
[digests.fine]
spiders = ["shop"]
to = ["me@example.com"]
subject = "[{name}] {summary}"
[alerts]
to = ["ops@example.com"]
""")
        (program.folder / "mine").mkdir()
        (program.folder / "mine" / "digest.txt").write_text("{{ oh }}", "utf-8")
        program.serve()
        eventually(lambda: len(mails(program)) == 3, within_s=60)
        found = {str(mail["Subject"]): text_of(mail) for mail in mails(program)}
        assert "digest.txt, line 1: the template cannot be rendered: 'oh' is undefined" in found["[broken] New: Book"]
        assert "template" not in found["[fine] New: Book"]
        alert, = (text for subject, text in found.items() if subject.startswith("[alert]"))
        assert "The digest broken cannot be sent completely" in alert
        status_told = program.run("status")
        assert status_told.returncode == 1, status_told.stdout
        assert "digest broken: sent with less content (" in status_told.stdout
        assert program.stop() == 0
