"""For each option of a digest: settings that use it, and what the mails that arrive must then contain.

A proof is a function under the name of its digest. `digest(…)` gives the digest its table. The keys of this table are the options
that the function proves; a digest without `spiders` and `to` reports the spider `shop` to NAME@example.com.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Sequence

from pipeline.languages import LANGUAGES, wording
from pipeline.model import ChangeKind
from tests.service.digest_scenario import LARGE, NEVER, PROGRAM, PUBLIC_URL, REPORT, Inbox, Mail, Proof, digest

# The choice of changes


@digest('spiders = ["news"]\nto = ["Reader, Me <spiders@example.com>"]', second=0)
def spiders(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert mails[0].told == {"Paper one"}
    assert "Cover price: £1.00" in mails[0].text  # by the display of the spider
    assert mails[0]["To"] == '"Reader, Me" <spiders@example.com>'


@digest('tags = ["papers"]\nattach = ["pages"]', second=0)
def tags(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert mails[0].told == {"Paper one"}
    page, = mails[0].files.values()
    assert b"Paper one" in page


@digest('changes = ["new"]')
def only_new(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert [mail.told for mail in mails] == [{"Alpha lamp", "Beta table", "Gamma chair"}, {"Delta sofa"}]


@digest('changes = ["changed", "gone", "back"]', first=0)
def not_new(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert mails[0].told == {"Alpha lamp", "Beta table", "Gamma chair"}


@digest('keywords = ["BETA", "Delta"]')
def keywords(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert [mail.told for mail in mails] == [{"Beta table"}, {"Beta table", "Delta sofa"}]


@digest('where = ["price >= 20", "stock !~ sold"]')
def where(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert [mail.told for mail in mails] == [{"Gamma chair"}, {"Gamma chair", "Delta sofa"}]


@digest('to = ["only_if@example.com"]\nonly_if = "it is no table"\n[[groups]]\nto = ["lamps@example.com"]\nonly_if = "it is a lamp"', first=2, second=2)
def only_if(mails: Sequence[Mail], _inbox: Inbox) -> None:
    told = [(mail["To"], mail.told) for mail in mails]
    assert sorted(told, key=str) == sorted([
        ("only_if@example.com", {"Alpha lamp", "Gamma chair"}), ("lamps@example.com", {"Alpha lamp"}),
        ("only_if@example.com", {"Alpha lamp", "Gamma chair", "Delta sofa"}), ("lamps@example.com", {"Alpha lamp"})], key=str)
    assert "1 change was left out: a language model judged that it does not meet “it is no table”" in mails[0].text
    assert f"{PUBLIC_URL}/digests/only_if/left-out?of=" in mails[0].text


@digest('to = ["model_summary@example.com"]\nsummary = "what is new"\n[[groups]]\nto = ["plain@example.com"]\nsummary = false', first=2, second=2)
def model_summary(mails: Sequence[Mail], _inbox: Inbox) -> None:
    for mail in mails:
        assert ("This is what matters. [1]" in mail.text) is (mail["To"] == "model_summary@example.com")


@digest('where = ["price < before"]', first=0)
def where_before(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert mails[0].told == {"Alpha lamp"}
    assert "£10.00 → £8.00" in mails[0].text


@digest('notify = [{ env = "DOWN" }, { env = "HOOK" }]\n[[groups]]\nkeywords = ["sofa"]\nnotify = [{ env = "HOOK" }]\nto = ["notified@example.com"]', first=0)
def notified(mails: Sequence[Mail], inbox: Inbox) -> None:
    """The digest itself has only channels, of which one is down; the group also gets a mail."""
    assert mails[0].told == {"Delta sofa"}
    told = [text["message"].splitlines() for text in inbox.texts["HOOK"]]
    assert told[0] == ["• New: Alpha lamp — £10.00", "• New: Beta table — £20.00", "• New: Gamma chair — £30.00", f"{PUBLIC_URL}/"], told
    changed = ["• New: Delta sofa — £40.00", "• Alpha lamp: £10.00 → £8.00", "• Beta table: £20.00 → £25.00", "• Gone: Gamma chair", f"{PUBLIC_URL}/"]
    assert changed in told, told
    assert "New: Delta sofa — £40.00" in {text["title"] for text in inbox.texts["HOOK"]}  # the text of the group
    assert inbox.texts["DOWN"]


@digest('spiders = ["broken"]\nproblems = true', second=0)
def with_problems(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert "broken" in mails[0].subject
    assert "500" in mails[0].text


@digest('spiders = ["broken"]\nproblems = false', first=0, second=0)
def without_problems(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert not mails


@digest('spiders = ["news"]\ngroup_by = "tag"', second=0)
def grouped(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert "== Papers ==" in mails[0].text
    assert ">Papers</h2>" in mails[0].html


@digest('important = "price"')
def important(mails: Sequence[Mail], _inbox: Inbox) -> None:
    """The price that rose by a quarter comes before the one that fell by a fifth, and both before the new item."""
    places = [mails[1].text.index(name) for name in ("Beta table", "Alpha lamp", "Delta sofa", "Gamma chair")]
    assert places == sorted(places)


# Recipients and headers


@digest("""
to = ["to@example.com"]
cc = ["cc@example.com"]
bcc = ["bcc@example.com"]
thread = true
unsubscribe = "https://example.com/unsubscribe?list=1"
settings_url = "https://example.com/settings"
subject = "{name} on {date}: {summary}"
timezone = "Asia/Tokyo"
quiet = "QUIET"
""")
def headers(mails: Sequence[Mail], inbox: Inbox) -> None:
    """The same hours are not quiet in Tokyo."""
    for mail in mails:
        assert set(mail.recipients) == {"to@example.com", "cc@example.com", "bcc@example.com"}
        assert (mail["To"], mail["Cc"], mail["Bcc"]) == ("to@example.com", "cc@example.com", "None")
        assert b"bcc@" not in mail.message.as_bytes()
        assert "<https://example.com/unsubscribe?list=1>" in mail["List-Unsubscribe"]
        assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        assert "https://example.com/unsubscribe?list=1" in mail.text
        assert "https://example.com/settings" in mail.text
        assert re.match(r"headers on 20\d\d-\d\d-\d\d: .", mail.subject)
        assert mail["Date"].endswith("+0900")
    assert inbox.of("bcc") == inbox.of("cc") == list(mails)
    assert mails[0]["References"] == mails[1]["References"] != "None"
    assert mails[0]["Message-ID"] != mails[1]["Message-ID"]


@digest("""
spiders = ["shop", "news"]
[[groups]]
to = ["cheap@example.com"]
spiders = ["shop"]
where = ["price < before"]
[[groups]]
to = ["papers@example.com"]
cc = ["copies@example.com"]
tags = ["papers"]
problems = false
individually = true
language = "zh"
timezone = "Asia/Tokyo"
unsubscribe = "https://example.com/unsubscribe?who={recipient}"
[[groups]]
bcc = ["sofas@example.com"]
keywords = ["sofa"]
changes = ["new"]
""", first=2, second=2)
def groups(_mails: Sequence[Mail], inbox: Inbox) -> None:
    (cheap,), (papers,), (copies,), (sofas,) = (inbox.of(name) for name in ("cheap", "papers", "copies", "sofas"))
    assert (cheap.told, papers.told, sofas.told) == ({"Alpha lamp"}, {"Paper one"}, {"Delta sofa"})
    assert b"sofas@" not in sofas.message.as_bytes()
    assert (papers["To"], papers["Cc"], copies["To"]) == ("papers@example.com", "None", "copies@example.com")
    assert "who=papers%40example.com>" in papers["List-Unsubscribe"]
    assert "who=copies%40example.com" in copies.text
    assert wording("zh").headings[ChangeKind.NEW] in papers.text
    assert papers["Date"].endswith("+0900")


@digest('spiders = ["news"]\nto = ["one@example.com"]\nbcc = ["two@example.com"]\nindividually = true', first=2, second=0)
def individually(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert {(mail["To"], mail.recipients) for mail in mails} == {
        ("one@example.com", ("one@example.com",)), ("two@example.com", ("two@example.com",))}
    assert mails[0].html == mails[1].html


# Time


@digest('spiders = ["news"]\nschedule = "every 1s"', second=0)
def schedule(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert mails[0].told == {"Paper one"}


@digest(f'schedule = "{NEVER}"', first=0, second=0, third=1)
def later(mails: Sequence[Mail], _inbox: Inbox) -> None:
    """One mail about both runs: an item that was new and is gone again is not told."""
    assert mails[0].told == {"Alpha lamp", "Beta table", "Delta sofa"}
    assert "£10.00" not in mails[0].text


@digest('quiet = "QUIET"\nwhere = ["price < before"]', first=0, second=0, third=1)
def quiet(mails: Sequence[Mail], _inbox: Inbox) -> None:
    """The reader never knew the item: the last two values are told."""
    assert mails[0].told == {"Alpha lamp"}
    assert "£10.00 → £8.00" in mails[0].text


@digest('spiders = ["never"]\nschedule = "every 1h"\nempty = "send"', second=0)
def empty_send(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert "nothing new" in mails[0].subject.lower()


@digest('spiders = ["never"]\nschedule = "every 1h"\nempty = "skip"', first=0, second=0)
def empty_skip(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert not mails


# Look


@digest('templates = "mine"\nspiders = ["news"]', second=0)
def templates(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert mails[0].text.strip() == "Mine: Paper one"
    assert "Mine:" not in mails[0].html
    assert "Paper one" in mails[0].html


@digest("""
show = ["stock", "price"]
labels = { price = "Cost" }
good = { price = "down" }
""")
def fields(mails: Sequence[Mail], _inbox: Inbox) -> None:
    first, second = (mail.text.replace("\u00a0", " ") for mail in mails)
    assert "  stock: 3 left\n  Cost: £10.00\n" in first.replace("\r\n", "\n")
    assert "Cost: £10.00 → £8.00 ▼ −£2.00 (−20%)" in second
    assert 'class="delta good"' in mails[1].html
    assert 'class="delta bad"' in mails[1].html


@digest('hide = ["stock"]\nformats = { price = "text" }')
def fewer_fields(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert "stock" not in mails[0].text
    assert "price: £10.00 → £8.00" in mails[1].text
    assert "▼" not in mails[1].text


def _in(language: str) -> Proof:
    def proof(mails: Sequence[Mail], _inbox: Inbox) -> None:
        assert wording(language).footer.format(name=f"language_{language}").partition("language")[0] in mails[0].text

    proof.__name__ = f"language_{language}"
    return proof


for name in LANGUAGES:
    digest(f'language = "{name}"\nspiders = ["news"]', second=0)(_in(name))


@digest('images = true\nspiders = ["news"]', second=0)
def images(mails: Sequence[Mail], _inbox: Inbox) -> None:
    picture, = [part for part in mails[0].message.walk() if part.get_content_maintype() == "image"]
    assert f"cid:{str(picture['Content-ID'])[1:-1]}" in mails[0].html


# Attachments


def names_in(table: bytes) -> set[str]:
    return {row["name"] for row in csv.DictReader(io.StringIO(table.decode("utf-8-sig")))}


@digest('attach = ["csv", "xlsx", "jsonl", "pages"]\ncsv_bom = true\nattach_limit = "1MB"\ncharts = ["price"]')
def tables(mails: Sequence[Mail], _inbox: Inbox) -> None:
    first, second = mails
    assert first.file(".csv").startswith(b"\xef\xbb\xbf")
    assert names_in(second.file(".csv")) == {"Alpha lamp", "Beta table", "Gamma chair", "Delta sofa"}
    assert {json.loads(line)["change"] for line in second.file(".jsonl").splitlines()} == {"new", "changed", "gone"}
    with zipfile.ZipFile(io.BytesIO(second.file(".xlsx"))) as book:
        assert any(b"Delta sofa" in book.read(name) for name in book.namelist())
    assert b"Gamma chair" in first.file(".html")
    assert b"Delta sofa" in second.file(".html")
    pictures = [str(part["Content-ID"])[1:-1] for part in second.message.walk() if part.get_content_type() == "image/png"]
    assert len(pictures) == 2
    assert all(f"cid:{picture}" in second.html for picture in pictures)


@digest('attach = ["downloads"]\nattach_programs = false')
def downloads(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert mails[0].files == {"report.pdf": REPORT}
    assert "setup.exe" in mails[0].text
    assert not mails[1].files  # neither file has changed


@digest('attach = ["downloads"]\nattach_programs = true')
def programs(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert mails[0].files == {"report.pdf": REPORT, "setup.exe": PROGRAM}


@digest('spiders = ["large"]\nattach = ["downloads"]\nattach_limit = "5kB"\noversize = "list"', second=0)
def oversize_list(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert mails[0].files == {"report.pdf": REPORT}
    assert "large.bin" in mails[0].text
    assert PUBLIC_URL in mails[0].text


@digest('spiders = ["large"]\nattach = ["downloads"]\nattach_limit = "5kB"\noversize = "zip"', second=0)
def oversize_zip(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert mails[0].files.keys() == {"report.pdf", "large.bin.zip"}
    with zipfile.ZipFile(io.BytesIO(mails[0].file(".zip"))) as archive:
        assert archive.read("large.bin") == LARGE


@digest('spiders = ["large"]\nattach = ["downloads"]\nattach_limit = "31kB"\noversize = "split"', first=2, second=0)
def oversize_split(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert sorted(name for mail in mails for name in mail.files) == ["large.bin", "report.pdf"]
    assert [mail.subject[-6:] for mail in mails] == [" (1/2)", " (2/2)"]
