"""The site, the spiders and the digests of the proofs, and the mails that arrive."""

from __future__ import annotations

import io
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from PIL import Image

from tests.servers.language_model import AskedModel
from tests.servers.pages import Answer, PageSite

PROGRAM = b"MZ" + bytes(50)
REPORT = b"%PDF-1.4 " + bytes(range(256)) * 8
LARGE = bytes(30_000)


def show(site: PageSite, items: Mapping[str, tuple[str, str]]) -> None:
    """Put items on the page of the shop: their names with price and stock."""
    rows = "".join(f"<li><a href=/{name.split()[0]}>{name}</a> <b>{price}</b> <i>{stock}</i></li>" for name, (price, stock) in items.items())
    site.pages["/"] = Answer(f"<ul>{rows}</ul><p><a href=/files/report.pdf>r</a> <a href=/files/setup.exe>s</a>")


def _picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (400, 300), "red").save(file, "PNG")
    return file.getvalue()


def open_shop(site: PageSite) -> None:
    binary = {"Content-Type": "application/octet-stream"}
    site.pages |= {"/files/report.pdf": Answer(REPORT, headers={"Content-Type": "application/pdf"}),
                   "/files/setup.exe": Answer(PROGRAM, headers=binary), "/files/large.bin": Answer(LARGE, headers=binary),
                   "/news": "<ul><li><a href=/n1>Paper one</a> <b>£1.00</b> <img src=/photo.png></ul>",
                   "/photo.png": Answer(_picture(), headers={"Content-Type": "image/png"}), "/broken": Answer("down", 500),
                   "/large": "<a href=/files/large.bin>l</a> <a href=/files/report.pdf>r</a>"}
    show(site, {"Alpha lamp": ("£10.00", "3 left"), "Beta table": ("£20.00", "sold out"), "Gamma chair": ("£30.00", "in stock")})


def change_shop(site: PageSite) -> None:
    """One price falls, one rises, one item is gone, and one is new."""
    show(site, {"Alpha lamp": ("£8.00", "3 left"), "Beta table": ("£25.00", "sold out"), "Delta sofa": ("£40.00", "in stock")})


def answer_of_model(asked: AskedModel) -> dict[str, Any]:
    """What the language model answers: a verdict on each record by the words of the condition, or a summary of the first record."""
    if "verdicts" not in asked.schema.get("properties", {}):
        return {"claims": [{"text": "This is what matters.", "items": [1]}], "order": []}
    wanted = (lambda text: "lamp" in text) if "it is a lamp" in asked.system else (lambda text: "table" not in text)
    return {"verdicts": [{"number": number, "tell": wanted(text), "reason": "by its name"} for number, text in asked.records.items()]}


PUBLIC_URL = "https://pipeline.example.com"
NEVER = "0 0 29 2 *"
ITEM_NAMES = ("Alpha lamp", "Beta table", "Gamma chair", "Delta sofa", "Paper one")
ONCE = 'schedule = "every 1h"\nrobots = false\nretries = 0\n'
ITEMS = """
each = "li"
key = ["name"]
fields = { name = "a", price = { css = "b", type = "price" }, stock = "i", url = "a::attr(href)" }
"""
PAPERS = ITEMS.replace('stock = "i"', 'image = "img::attr(src)"')


def settings_of_spiders(site: PageSite) -> str:
    return "".join(f'[spiders.{name}]\nstart = "{site.url}{table}\n' for name, table in {
        "shop": f'/"\ntags = ["goods"]\ndownload = ["p a"]\n{ONCE}[spiders.shop.items]{ITEMS}',
        "news": f'/news"\ntags = ["papers"]\ndisplay.labels.price = "Cover price"\n{ONCE}[spiders.news.items]{PAPERS}',
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
    """Every mail that arrived, in the order of arrival, and the texts for notification channels, by path."""

    mails: Sequence[Mail]
    texts: Mapping[str, Sequence[Mapping[str, str]]] = field(default_factory=dict)

    def of(self, name: str) -> list[Mail]:
        """Return the mails to NAME@example.com."""
        return [mail for mail in self.mails if f"{name}@example.com" in mail.recipients]


Proof = Callable[[Sequence[Mail], Inbox], None]


@dataclass(frozen=True)
class Digest:
    """A digest and the proof of its options.

    first, second: how many mails it sends after the first run of its spiders, and after a run that finds changes. third: how many after
    the end of its quiet hours and with another schedule.
    """

    name: str
    toml: str
    first: int
    second: int
    third: int
    proof: Proof

    @property
    def mails(self) -> int:
        return self.first + self.second + self.third

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


def digest(toml: str, *, first: int = 1, second: int = 1, third: int = 0) -> Callable[[Proof], Proof]:
    """Register the decorated function as the proof of a digest with this table."""
    def add(proof: Proof) -> Proof:
        name = proof.__name__
        DIGESTS[name] = Digest(name, toml.strip() + "\n", first, second, third, proof)
        return proof

    return add
