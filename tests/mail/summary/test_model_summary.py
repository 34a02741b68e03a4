"""Tests of the summary of a language model on top of a digest.

What it shows, what it rests on, and that it is asked once.
"""

from __future__ import annotations

import email
import json
import re
from datetime import timedelta
from email.policy import default
from pathlib import Path

import lxml.html
import pytest

from pipeline.cli.deliveries import send_digest
from pipeline.errors import SettingsError
from pipeline.mail.digests.asked_contents import asked_contents, asked_model
from pipeline.mail.digests.build import build
from pipeline.mail.digests.preview import preview
from pipeline.model import Again
from pipeline.settings import load
from pipeline.store import open_store
from pipeline.store.mail import digests, outbox
from pipeline.store.mail.model_summaries import find
from tests.mail.conftest import NOW, Site, built, text_of
from tests.mail.html_features import JUDGED, features_of
from tests.mail.summary import many_changes
from tests.mail.summary.conftest import answer, lines_of, mails_of
from tests.servers.language_model import Answer
from tests.servers.smtp import Fault, SmtpServer

BOOKS = {str(n): {"title": f"Book {n}", "price": f"£{n}0.00", "url": f"https://books.example/{n}"} for n in range(1, 6)}


def number_of(request, title: str) -> int:
    """The number of the record that is about this title."""
    return next(number for number, text in request.records.items() if title in text)


def test_each_sentence_links_to_the_items_on_which_it_rests_and_these_come_first(store, site, settings_from, model) -> None:
    model.says = lambda asked: answer({"Two books are cheap.": [number_of(asked, "Book 4"), number_of(asked, "Book 2")], "One is dear.": [number_of(asked, "Book 2")]},
                                      [number_of(asked, "Book 4"), number_of(asked, "Book 5")])
    site.run(BOOKS)
    mail, = mails_of(store, built(store, settings_from(digest=f"summary = true\n{model.settings()}")).message_ids)
    lines = lines_of(mail)
    assert lines[3:7] == ["In short", "* Two books are cheap. [1] [2]", "* One is dear. [2]", ""]
    assert re.fullmatch(r"\(Written by tiny-3b at 127\.0\.0\.1:\d+ from the changes below\)", lines[7])
    assert [line for line in lines[8:] if line.startswith("* ")] == ["* [1] Book 4", "* Book 5", "* [2] Book 2", "* Book 1", "* Book 3"]
    assert features_of([text_of(mail, "html")]) <= JUDGED  # for a new feature see html_features.py
    html = lxml.html.fromstring(text_of(mail, "html"))
    links = {link.text: link.get("href") for link in html.iter("a") if link.get("href", "").startswith("#")}
    assert links == {"[1]": "#change-1", "[2]": "#change-2"}
    assert [html.get_element_by_id(f"change-{n}").getparent().text_content() for n in (1, 2)] == ["[1] Book 4", "[2] Book 2"]
    assert str(mail["Subject"]).startswith("5 new: Book 4, Book 5, Book 2")


def test_the_model_is_asked_in_the_language_of_the_mail_for_what_the_readers_want_to_know(store, site, settings_from, model) -> None:
    model.says = answer({"Ein Buch kostet 50 £.": [5]})
    site.run(BOOKS)
    settings = settings_from(digest=f'summary = "which books cost most?"\nlanguage = "de"\n{model.settings()}')
    mail, = mails_of(store, built(store, settings).message_ids)
    task = model.asked[0].system
    assert "sentences in German" in task
    assert "The reader wants to know: which books cost most?" in task
    assert lines_of(mail)[3:5] == ["Kurz gesagt", "* Ein Buch kostet 50 £. [1]"]


def test_a_question_that_nothing_answers_is_answered_with_nothing(store, site, settings_from, model) -> None:
    model.says = answer({}, [3])
    site.run(BOOKS)
    mail, = mails_of(store, built(store, settings_from(digest=f'summary = "who won?"\n{model.settings()}')).message_ids)
    lines = lines_of(mail)
    assert lines[3:5] == ["In short", "Nothing in these changes answers “who won?”."]
    assert next(line for line in lines if line.startswith("* ")) == "* Book 3"


def test_the_user_s_important_fields_are_above_the_ranking_of_the_model(store, site, settings_from, model) -> None:
    site.run(BOOKS)
    settings = settings_from(digest=f'important = "price"\nsummary = true\n{model.settings()}')
    built(store, settings)
    site.run({"1": BOOKS["1"] | {"price": "£90.00"}, "2": BOOKS["2"] | {"url": "https://books.example/new"}, "3": BOOKS["3"] | {"price": "£31.00"}, "4": BOOKS["4"], "5": BOOKS["5"]})
    model.says = lambda asked: answer({"The link is new.": [number_of(asked, "Book 2")], "A price rose.": [number_of(asked, "Book 3")]})
    mail, = mails_of(store, built(store, settings, slot="s2").message_ids)
    assert [line for line in lines_of(mail)[7:] if line.startswith("* ")] == ["* Book 1", "* [2] Book 3", "* [1] Book 2"]


def test_groups_may_ask_something_else_or_nothing_and_the_same_is_asked_once(store, site, settings_from, model) -> None:
    model.says = lambda asked: answer({"Asked: " + ("dear" if "most dear" in asked.system else "all"): [1]})
    site.run(BOOKS)
    groups = "".join(f'[[digests.morning.groups]]\nto = ["{n}@example.com"]\n{keys}\n' for n, keys in enumerate(
        ("", 'summary = "the most dear ones"', "summary = false", 'changes = ["new"]')))
    mails = mails_of(store, built(store, settings_from(digest=f"summary = true\n{groups}{model.settings()}")).message_ids)
    assert [line[:2] for line in map(lines_of, mails)] == [lines_of(mails[0])[:2]] * 5
    assert [lines_of(mail)[4] for mail in mails] == ["* Asked: all [1]", "* Asked: all [1]", "* Asked: dear [1]", "", "* Asked: all [1]"]
    assert len(model.asked) == 2


def test_a_template_that_fails_does_not_ask_the_model_twice(store, site, settings_from, model, tmp_path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/digest.html").write_text("{{ nothing_of_this_name }}")
    site.run(BOOKS)
    mail, = mails_of(store, built(store, settings_from(digest=f'summary = true\ntemplates = "own"\n{model.settings()}')).message_ids)
    assert "! Problems" in lines_of(mail)
    assert "* The first change matters most. [1]" in lines_of(mail)
    assert len(model.asked) == 1


def test_templates_of_a_user_get_the_summary_and_work_without_it(store, site, settings_from, model, tmp_path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/digest.txt").write_text(
        "{{ summary }}\n{% if model_summary %}{% for claim in model_summary.claims %}{{ claim.text }}{{ claim.numbers | list }}{% endfor %}{{ model_summary.missing }}"
        "\n{% endif %}\n{% for section in sections %}{% for item in section.items %}{{ item.number }} {{ item.title }};{% endfor %}{% endfor %}")
    site.run(BOOKS)
    mail, = mails_of(store, built(store, settings_from(digest=f'summary = true\ntemplates = "own"\n{model.settings()}')).message_ids)
    assert lines_of(mail)[1:3] == ["The first change matters most.[1]", "1 Book 1;0 Book 2;0 Book 3;0 Book 4;0 Book 5;"]
    site.run({**BOOKS, "6": BOOKS["1"]})
    mail, = mails_of(store, built(store, settings_from(digest='templates = "own"'), slot="s2").message_ids)
    assert lines_of(mail)[:2] == ["1 new", "0 Book 1;"]


def test_a_channel_gets_the_first_sentences_and_then_the_changes(store, site, settings_from, model, monkeypatch) -> None:
    monkeypatch.setenv("HOOK", "json://127.0.0.1/")
    model.says = answer([(f"Sentence {n}.", [n]) for n in (5, 4, 3)])
    site.run(BOOKS)
    settings = settings_from(digest=f'notify = [{{ env = "HOOK" }}]\nsummary = true\n{model.settings()}')
    _, text = built(store, settings).message_ids
    found = json.loads(store.files.path(_key(store, text)).read_bytes())
    assert found["lines"][:4] == ["Sentence 5. (tiny-3b)", "Sentence 4. (tiny-3b)", "New: Book 5 — £50.00", "New: Book 4 — £40.00"]
    assert (found["more"][0], found["more"][2], found["more"][3], found["more"][-1]) == ("and 5 more", "and 5 more", "and 4 more", "")


def _key(store, message_id: int) -> str:
    return outbox.get(store, message_id)[0].file_key


def test_a_preview_asks_the_model_says_so_and_stores_no_summary(store, site, settings_from, model, tmp_path) -> None:
    site.run(BOOKS)
    said: list[str] = []
    paths = preview(store, settings_from(digest=f"summary = true\n{model.settings()}"), "morning", tmp_path / "out", now=NOW, say=said.append)
    assert "* The first change matters most. [1]" in (tmp_path / "out/morning.txt").read_text("utf-8").splitlines()
    assert len(paths) == 3
    assert re.fullmatch(r"the language model tiny-3b at 127\.0\.0\.1:\d+ was asked, with \d+ tokens sent and \d+ received", said[0])
    assert find(store, 1, 0, "en") is None


def said_of(request) -> str:
    """A plausible answer to a batch of the 200 changes: what got cheaper, which conferences there are, the first of everything else."""
    first = dict(list(request.records.items())[:3])
    if "are sentences" in request.system:  # the request that merges the answers
        return answer({"In short, everything: " + first[1][:60]: list(request.records)[:4], "And more.": [2]}, list(request.records))
    return answer({f"About {len(request.records)} changes from {min(request.records)} on.": list(first)}, list(reversed(request.records)))


def test_hundreds_of_changes_are_read_in_batches_whose_answers_are_merged(tmp_path, settings_from, model) -> None:
    with_store = open_store(tmp_path / "var")
    site = Site(with_store)
    many_changes.fill(site)
    settings = settings_from(digest=f"summary = true\n{model.settings()}", spiders=many_changes.SPIDERS)
    built(with_store, settings)
    model.asked.clear()
    many_changes.fill_again(site)
    model.says = said_of
    mail, = mails_of(with_store, built(with_store, settings, slot="s2").message_ids)
    *batches, merge = model.asked
    read = [number for asked in batches for number in asked.records]
    assert read == list(range(1, 201))
    assert len(batches) >= 4
    assert list(merge.records.values()) == [f"About {len(asked.records)} changes from {min(asked.records)} on." for asked in batches]
    lines = lines_of(mail)
    assert lines[1].startswith("135 new, 55 changed, 10 gone")
    assert lines[4].startswith("* In short, everything: About ")
    assert lines[4].endswith("[1] [2] [3] [4] [5] [6] and 6 more")
    assert "from the changes below)" in "".join(lines)
    assert len([line for line in lines if line.startswith("* ")]) == 2 + 200  # two sentences, and every change
    assert "… and" not in "".join(lines[5:])
    summary = find(with_store, 2, 0, "en")
    assert summary is not None
    assert sorted(summary.order) == sorted(change.id for change in digests.changes_of(with_store, digests.reported_runs(with_store, 2)))
    with_store.close()


def test_what_the_model_did_not_read_is_said(store, site, settings_from, model) -> None:
    site.run({str(n): {"title": f"Book {n} " + "long " * 100} for n in range(100)})
    model.says = lambda asked: answer({"The first ones.": [1]}, [7]) if 1 in asked.records else "I would rather not."
    mail, = mails_of(store, built(store, settings_from(digest=f"summary = true\n{model.settings()}")).message_ids)
    line = next(line for line in lines_of(mail) if line.startswith("(Written by"))
    assert re.search(r"from \d+ of the 100 changes — the language model answered with something else than was asked for\)$", line)
    assert [line[:12] for line in lines_of(mail) if line.startswith("* ")][:3] == ["* The first ", "* Book 6 lon", "* [1] Book 0"]


def test_an_item_that_the_mail_has_no_room_for_is_named_below_the_summary(store, site, settings_from, model, tmp_path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "digest.html").write_text(
        '{% include "_model_summary.html" %}{% for section in sections %}{% for item in section["items"] %}{% include "_item.html" %}{{ "x" * 45000 }}{% endfor %}{% endfor %}', "utf-8")
    site.run(BOOKS)
    settings = settings_from(digest=f'templates = "mine"\nsummary = true\n{model.settings()}')
    built(store, settings)
    site.run({str(n): {"title": f"Book {n}", "price": f"£{n}1.00", "url": f"https://books.example/{n}"} for n in (*range(1, 6), *range(100, 160))})
    model.says = lambda asked: answer([(f"Sentence {n} of {min(asked.records)}.", sorted(asked.records)[size * n:size * n + size])
                                       for size in (1 if "are sentences" in asked.system else 6,) for n in range(5)])
    mail, = mails_of(store, built(store, settings, slot="s2").message_ids)
    html = lxml.html.fromstring(text_of(mail, "html"))
    assert "Named above, but not shown below:" in lines_of(mail)
    shown = set(re.findall(r"^\* (\[\d+\]) Book", text_of(mail), re.MULTILINE))
    named = set(re.findall(r"^  (\[\d+\]) Book", text_of(mail), re.MULTILINE))
    cited = set(re.findall(r"\[\d+\]", " ".join(line for line in lines_of(mail) if line.startswith("* Sentence"))))
    assert len(cited) > 12
    assert (shown | named, shown & named) == (cited, set())
    assert shown
    assert named
    links = [each for each in html.iter("a") if each.get("href", "").startswith("#")]
    assert {link.text for link in links} == cited
    assert all(html.get_element_by_id(link.get("href")[1:]).getnext().text == link.text for link in links)


@pytest.mark.parametrize(("value", "problem"), [
    ("3", "neither true or false nor a question"), ('""', "neither true or false nor a question"), (f'"{"x" * 501}"', "3 to 500 characters"),
    ('"two\\nlines"', "on one line")])
def test_a_summary_is_true_or_a_question(value, problem, settings_from) -> None:
    with pytest.raises(SettingsError, match=problem):
        settings_from(digest=f"summary = {value}")


def test_a_digest_that_is_built_again_says_what_was_stored_first(store, site, settings_from, model) -> None:
    settings = settings_from(digest=f"summary = true\n{model.settings()}")
    site.run(BOOKS)
    claim = digests.claim(store, "morning", ["books"], "s1", owner="killed", now=NOW)
    asked_contents(store, settings, "morning", claim.run_ids, asked_model(store, settings, "morning"), now=NOW, digest_id=claim.id)
    model.says = answer({"Something else.": [2]})
    later = NOW + timedelta(minutes=5)
    again = digests.claim(store, "morning", ["books"], "s1", owner="me", now=later)
    mail, = mails_of(store, build(store, settings, again, owner="me", now=later).message_ids)
    assert "* The first change matters most. [1]" in lines_of(mail)
    assert len(model.asked) == 1


def test_a_digest_that_is_sent_again_says_the_same_unless_the_settings_ask_for_something_else(store, site, settings_from, model) -> None:
    model.says = lambda asked: Answer("", status=500) if len(model.asked) == 1 else answer({f"Answer number {len(model.asked)}.": [2]})
    site.run(BOOKS)
    settings = settings_from(digest=f"summary = true\n{model.settings()}")
    said = []
    for number, other in enumerate((settings, settings, settings, settings_from(digest=f'summary = "which are cheap?"\n{model.settings()}'), settings)):
        at = NOW + timedelta(minutes=number)
        claim = digests.claim_again(store, "morning", Again((1,), ()), owner="me", now=at) if number else digests.claim(store, "morning", ["books"], "s1", owner="me", now=at)
        mail, = mails_of(store, build(store, other, claim, owner="me", now=at).message_ids)
        said += [next((line for line in lines_of(mail) if line.startswith("* Answer number")), "none")]
    assert said == ["none", "* Answer number 2. [1]", "* Answer number 2. [1]", "* Answer number 3. [1]", "* Answer number 2. [1]"]


def test_the_example_of_the_documentation_makes_a_summary(store, site, model, tmp_path) -> None:
    section = (Path(__file__).parents[3] / "docs/digests.md").read_text("utf-8").partition("\n## A summary on top\n")[2]
    example = section.partition("```toml\n")[2].partition("```")[0]
    spiders = "".join(f'[spiders.{name}]\nstart = "http://site.test/"\n' for name in ("acm", "usenix"))
    path = tmp_path / "settings.toml"
    path.write_text(f'[mail]\nfrom = "p@example.com"\n{spiders}' + example.replace("http://localhost:8080/v1", model.url), "utf-8")
    settings = load(path)
    site.run({"1": {"title": "Workshop on Web Archiving", "place": "Ghent"}}, spider="acm")
    model.says = answer({"A workshop on web archiving was announced, in Ghent.": [1]}, [1])
    claim = digests.claim(store, "conferences", ["acm", "usenix"], "s1", owner="me", now=NOW)
    mail, = mails_of(store, build(store, settings, claim, owner="me", now=NOW).message_ids)
    assert "* A workshop on web archiving was announced, in Ghent. [1]" in lines_of(mail)
    assert "which conferences were announced, and where" in model.asked[0].system


def test_a_mail_that_a_server_refused_is_built_again_with_the_same_summary(store, site, settings_from, model) -> None:
    model.says = lambda asked: answer({f"Answer number {len(model.asked)}.": [2]})
    site.run(BOOKS)
    with SmtpServer() as server:
        server.faults.append(Fault("END", "554 5.7.0 this attachment is not allowed here", times=1))
        settings = settings_from(mail=f'host = "127.0.0.1"\nport = {server.port}\nsecurity = "none"\n', digest=f'attach = ["csv"]\nsummary = true\n{model.settings()}')
        assert send_digest(store, settings, "morning", say=lambda _: None) == 0
        mail, = (email.message_from_bytes(one.content, policy=default) for one in server.received)
    assert not list(mail.iter_attachments())
    assert "* Answer number 1. [1]" in lines_of(mail)
    assert len(model.asked) == 1


def test_the_summary_is_about_the_changes_that_only_if_leaves(store, site, settings_from, model) -> None:
    def says(asked) -> str:
        if "verdicts" in asked.system:
            return json.dumps({"verdicts": [{"number": number, "tell": "Book 4" in text or "Book 2" in text, "reason": "cheap"} for number, text in asked.records.items()]})
        return answer({f"It is about {len(asked.records)} books.": [number_of(asked, "Book 4")]}, [number_of(asked, "Book 4")])

    model.says = says
    site.run(BOOKS)
    mail, = mails_of(store, built(store, settings_from(digest=f'only_if = "it is even"\nsummary = true\n{model.settings()}')).message_ids)
    lines = lines_of(mail)
    assert lines[3:5] == ["In short", "* It is about 2 books. [1]"]
    assert "from the changes below)" in "".join(lines)
    assert [line for line in lines[5:] if line.startswith("* ")] == ["* [1] Book 4", "* Book 2"]
