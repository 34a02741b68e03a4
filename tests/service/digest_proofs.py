"""For each option of a digest: settings that use it, and what the mails that arrive must then contain.

A proof is a function under the name of its digest. `digest(…)` gives the digest its table. The keys of this table are the options
that the function proves; a digest without `spiders` and `to` reports the spider `shop` to NAME@example.com.
"""

from __future__ import annotations

import csv
import io
import json
import tomllib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any

from pipeline.languages import LANGUAGES, wording
from tests.servers.pages import Answer, PageSite

PROGRAM = b"MZ" + bytes(50)
REPORT = b"%PDF-1.4 " + bytes(range(256)) * 8
LARGE = bytes(30_000)


def show(site: PageSite, items: Mapping[str, tuple[str, str]]) -> None:
    """Put items on the page of the shop: their names with price and stock."""
    rows = "".join(f"<li><a href=/{name.split()[0]}>{name}</a> <b>{price}</b> <i>{stock}</i></li>" for name, (price, stock) in items.items())
    site.pages["/"] = Answer(f"<ul>{rows}</ul><p><a href=/files/report.pdf>r</a> <a href=/files/setup.exe>s</a>")


def open_shop(site: PageSite) -> None:
    binary = {"Content-Type": "application/octet-stream"}
    site.pages |= {"/files/report.pdf": Answer(REPORT, headers={"Content-Type": "application/pdf"}),
                   "/files/setup.exe": Answer(PROGRAM, headers=binary), "/files/large.bin": Answer(LARGE, headers=binary),
                   "/news": "<ul><li><a href=/n1>Paper one</a> <b>£1.00</b></ul>", "/broken": Answer("down", 500),
                   "/large": "<a href=/files/large.bin>l</a> <a href=/files/report.pdf>r</a>"}
    show(site, {"Alpha lamp": ("£10.00", "3 left"), "Beta table": ("£20.00", "sold out"), "Gamma chair": ("£30.00", "in stock")})


def change_shop(site: PageSite) -> None:
    """One price falls, one rises, one item is gone, and one is new."""
    show(site, {"Alpha lamp": ("£8.00", "3 left"), "Beta table": ("£25.00", "sold out"), "Delta sofa": ("£40.00", "in stock")})


ITEM_NAMES = ("Alpha lamp", "Beta table", "Gamma chair", "Delta sofa", "Paper one")
ONCE = 'schedule = "every 1h"\nrobots = false\nretries = 0\n'
ITEMS = """
each = "li"
key = ["name"]
fields = { name = "a", price = { css = "b", type = "price" }, stock = "i", url = "a::attr(href)" }
"""


def settings_of_spiders(site: PageSite) -> str:
    return "".join(f'[spiders.{name}]\nstart = "{site.url}{table}\n' for name, table in {
        "shop": f'/"\ntags = ["goods"]\ndownload = ["p a"]\n{ONCE}[spiders.shop.items]{ITEMS}',
        "news": f'/news"\ntags = ["papers"]\ndisplay.labels.price = "Cover price"\n{ONCE}[spiders.news.items]{ITEMS}',
        "large": f'/large"\ndownload = ["a"]\ncookies.file = "cookies.txt"\n{ONCE}', "broken": f'/broken"\n{ONCE}', "never": '/news"'}.items())


@dataclass(frozen=True)
class Mail:
    """One message as it arrived. recipients: the addresses of the envelope."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage

    def __getitem__(self, header: str) -> str:
        return str(self.message[header])

    @property
    def subject(self) -> str:
        return self["Subject"]

    @property
    def text(self) -> str:
        return self._body("plain")

    @property
    def html(self) -> str:
        return self._body("html")

    def _body(self, kind: str) -> str:
        part = self.message.get_body((kind,))
        assert part is not None
        found: str = part.get_content()
        return found

    @property
    def told(self) -> set[str]:
        """The names of the items that the mail reports."""
        return {name for name in ITEM_NAMES if name in self.text}

    @property
    def files(self) -> dict[str, bytes]:
        return {str(part.get_filename()): part.get_payload(decode=True) for part in self.message.iter_attachments()}  # type: ignore[misc]

    def file(self, extension: str) -> bytes:
        content, = [content for name, content in self.files.items() if name.endswith(extension)]
        return content


@dataclass(frozen=True)
class Inbox:
    """Every mail that arrived, in the order of arrival."""

    mails: Sequence[Mail]

    def of(self, name: str) -> list[Mail]:
        """Return the mails to NAME@example.com."""
        return [mail for mail in self.mails if f"{name}@example.com" in mail.recipients]


Proof = Callable[[Sequence[Mail], Inbox], None]


@dataclass(frozen=True)
class Digest:
    """A digest and the proof of its options.

    first, second: how many mails it sends after the first run of its spiders, and after a run that finds changes.
    """

    name: str
    toml: str
    first: int
    second: int
    proof: Proof

    @property
    def table(self) -> dict[str, Any]:
        return tomllib.loads(self.toml)

    @property
    def settings(self) -> str:
        own = self.table
        lines = [] if "spiders" in own or "tags" in own else ['spiders = ["shop"]']
        if not {"to", "cc", "bcc", "groups"} & own.keys():
            lines.append(f'to = ["{self.name}@example.com"]')
        return f"[digests.{self.name}]\n" + "\n".join(lines) + "\n" + self.toml.replace("[[groups]]", f"[[digests.{self.name}.groups]]")


DIGESTS: dict[str, Digest] = {}


def digest(toml: str, *, first: int = 1, second: int = 1) -> Callable[[Proof], Proof]:
    """Register the decorated function as the proof of a digest with this table."""
    def add(proof: Proof) -> Proof:
        name = proof.__name__
        DIGESTS[name] = Digest(name, toml.strip() + "\n", first, second, proof)
        return proof

    return add


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


@digest('where = ["price < before"]', first=0)
def where_before(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert mails[0].told == {"Alpha lamp"}
    assert "£10.00 → £8.00" in mails[0].text


@digest('spiders = ["broken"]\nproblems = true', second=0)
def with_problems(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert "broken" in mails[0].subject
    assert "500" in mails[0].text


@digest('spiders = ["broken"]\nproblems = false', first=0, second=0)
def without_problems(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert not mails


# Recipients and headers


@digest("""
to = ["to@example.com"]
cc = ["cc@example.com"]
bcc = ["bcc@example.com"]
thread = true
unsubscribe = "https://example.com/unsubscribe?list=1"
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
        assert mail.subject.startswith("headers on 20")
        assert "3 new" in mail.subject or "1 new, 2 changed, 1 gone" in mail.subject
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
cc = ["papers@example.com"]
tags = ["papers"]
problems = false
[[groups]]
bcc = ["sofas@example.com"]
keywords = ["sofa"]
changes = ["new"]
""", first=1, second=2)
def groups(_mails: Sequence[Mail], inbox: Inbox) -> None:
    (cheap,), (papers,), (sofas,) = (inbox.of(name) for name in ("cheap", "papers", "sofas"))
    assert (cheap.told, papers.told, sofas.told) == ({"Alpha lamp"}, {"Paper one"}, {"Delta sofa"})
    assert papers["Cc"] == "papers@example.com"
    assert b"sofas@" not in sofas.message.as_bytes()


# Time


@digest('spiders = ["news"]\nschedule = "every 1s"', second=0)
def schedule(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert mails[0].told == {"Paper one"}


@digest('schedule = "0 0 29 2 *"', first=0, second=0)
def later(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert not mails


@digest('quiet = "QUIET"', first=0, second=0)
def quiet(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert not mails


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
    assert "<table" in mails[0].html or "<h1" in mails[0].html


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


@digest('spiders = ["large"]\nattach = ["downloads"]\nattach_limit = "5kB"\noversize = "zip"', second=0)
def oversize_zip(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert mails[0].files.keys() == {"report.pdf", "large.bin.zip"}
    with zipfile.ZipFile(io.BytesIO(mails[0].file(".zip"))) as archive:
        assert archive.read("large.bin") == LARGE


@digest('spiders = ["large"]\nattach = ["downloads"]\nattach_limit = "31kB"\noversize = "split"', first=2, second=0)
def oversize_split(mails: Sequence[Mail], _inbox: Inbox) -> None:
    assert sorted(name for mail in mails for name in mail.files) == ["large.bin", "report.pdf"]
    assert [mail.subject[-6:] for mail in mails] == [" (1/2)", " (2/2)"]
