"""Tests that three independent MIME parsers read in our mails exactly what was written.

They find no defect.

The parsers are Python's and the two of tests/mail/parsers: mailparser and postal-mime, which `make parsers` installs.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email import message_from_string
from email.errors import NonASCIILocalPartDefect
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import SMTPUTF8
from email.utils import getaddresses
from itertools import zip_longest
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pipeline.mail import alerts
from pipeline.mail.message import compose
from pipeline.mail.message.attachments import Attachment, safe_name
from pipeline.mail.message.dkim import Signer
from pipeline.mail.test_message import compose_test
from pipeline.model import Outcome
from pipeline.store import Store
from pipeline.store.mail import outbox
from tests.mail.conftest import NOW, SettingsFrom, Site, built
from tests.mail.message.test_header_folding import NAMES, PEOPLE, written

PARSERS = Path(__file__).parent.parent / "parsers"
AT = datetime(2026, 11, 29, 12, 30, tzinfo=UTC)
SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
LONGEST_LINE = 998  # RFC 5322, 2.1.1
KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))).private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

SUBJECTS = {
    "long ASCII": "A long subject of plain words " * 4 + "end", "one long word": "x" * 140, "trailing equals": "a = b =? c ?=",
    "looks encoded": "=?utf-8?q?no?= =?utf-8?b?bm8=?=", "mixed": "[books] Größe: 3 neu, 2 weg – “Über”, «Ça», ½ €",
    "two spaces": "price  £31.82 →  £32.32", "Chinese": "图书价格：三体 ¥31.82 → ¥32.32，另有两处变化" * 3,
    "Arabic and Hebrew": "سعر الكتاب: ١٢٫٥ ← ١٣ · מחיר הספר ירד", "emoji": "👩‍👩‍👧‍👦🇨🇭 family " * 8, "accents": "e\u0301a\u0308" * 30,
    "quotes": "'a' \"b\" <c> (d), e; f: g\\h", "empty": "",
}
TEXTS = {
    "empty": "", "dots": ".\n..\n.one\n", "from": "From here on\n>From there\n", "trailing blanks": "a \nb\t\n   \n\nc", "long line": "x" * 5000,
    "long line of words": "Wörter und " * 500, "8-bit": "Zürich, 北京, Αθήνα, القاهرة, 👩‍👩‍👧\n" * 20, "boundaries": "--=_mixed_\n--\n---\n",
    "equals": "a=3D=\n=20=0D\n", "odd line ends": "a\u2028b\u0085c\x0bd", "no end": "no line end",
}
ODD_NAMES = ["a;b=c.txt", "name*0=x.txt", "utf-8''x.txt", "=?utf-8?q?x?=.txt", "ends with backslash\\", " two  blanks .txt", "'", "\"", "İI.txt",
             "a\u0301.txt", "👩‍👩‍👧‍👦.png", "ملف التقرير السنوي.pdf", "קובץ.pdf", "100%25 sure%.txt", "ü" * 120, "a,b(c)[d]{e}@f?g:h.txt"]


def names_of_every_length() -> list[str]:
    rng = random.Random(5)
    return [("".join(rng.choice("ab -_ü日本👍%'*;\"\\") for _ in range(length)).strip() or "x") + ".xlsx" for length in range(1, 116)]


def kept(files: Sequence[Attachment]) -> list[dict[str, Any]]:
    return [read_file(file.name, file.content_type, file.path.read_bytes()) for file in files]


def read_file(name: str | None, content_type: str, content: bytes) -> dict[str, Any]:
    """As tests/mail/parsers describes a file."""
    told = content.replace(b"\r\n", b"\n").rstrip(b"\n") if content_type == "text/csv" else content
    return {"name": name, "type": content_type, "sha256": hashlib.sha256(told).hexdigest()}


class Mails:
    """A folder of mails, and what was written into each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.meant: dict[str, dict[str, Any]] = {}
        folder.mkdir()

    def write(self, name: str, *, to: Sequence[tuple[str, str]] = (("", "me@example.com"),), subject: str = "s", text: str = "text\n", html: str = "",
              files: Sequence[Attachment] = (), pictures: Sequence[compose.Picture] = (), signer: Signer | None = None, **more: Any) -> None:
        values: dict[str, Any] = {"sender": ("Pipeline", "pipeline@example.com"), "cc": (), "reply_to": ("", "answers@example.com"), "unsubscribe": "https://example.com/out?a=1&b=2"} | more
        envelope = compose.Envelope(sender=written(values["sender"]), to=[*map(written, to)], cc=[*map(written, values["cc"])], subject=subject,
                                    reply_to=written(values["reply_to"]), message_id=f"<{len(self.meant)}@example.com>", date=AT, list_name="books",
                                    references="<books.thread@example.com>", on_behalf=values.get("on_behalf"), unsubscribe=values["unsubscribe"])
        with (self.folder / f"{len(self.meant):03}.eml").open("wb") as file:
            compose.write(file, envelope, text=text, html=html, attachments=files, pictures=pictures, signer=signer)
        self._mean(name, {
            "from": [values["sender"]], "to": [*to], "cc": [*values["cc"]], "reply_to": [values["reply_to"]], "subject": " ".join(subject.split()),
            "unsubscribe": values["unsubscribe"], "message_id": envelope.message_id, "date": "2026-11-29T12:30:00.000Z", "text": lines(text), "html": lines(html),
            "files": [*(read_file(f"{one.name.partition('@')[0]}.{one.content_type[6:].replace('jpeg', 'jpg')}", one.content_type, one.content) for one in pictures), *kept(files)]})

    def add(self, name: str, content: bytes, **meant: Any) -> None:
        """A mail that another part of the program has written, and what is known of it."""
        (self.folder / f"{len(self.meant):03}.eml").write_bytes(content)
        self._mean(name, meant)

    def _mean(self, name: str, meant: dict[str, Any]) -> None:
        self.meant[f"{len(self.meant):03}.eml"] = {"called": name} | json.loads(json.dumps(meant))

    def read(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Name of the file, parser, and what it read."""
        said = subprocess.run(["node", "read_mails.mjs", str(self.folder)], cwd=PARSERS, check=True, capture_output=True, text=True, timeout=120).stdout
        for line in said.split("\n")[:-1]:  # not splitlines(): U+2028 and the like are no line ends in JSON
            found = json.loads(line)
            yield found["mail"], found["parser"], found
        for path in sorted(self.folder.glob("*.eml")):
            yield path.name, "Python", json.loads(json.dumps(by_python(path.read_bytes())))


def lines(text: str) -> str:
    """The text as it is compared: parsers differ in the line ends at the end of a body."""
    return text.replace("\r\n", "\n").rstrip("\n")


def by_python(content: bytes) -> dict[str, Any]:
    mail = cast("EmailMessage", message_from_string(content.decode(), policy=SMTPUTF8))
    defects = [repr(defect) for part in mail.walk() for defect in (*part.defects, *(
        found for header in part.values() for found in getattr(header, "defects", ())))
        if not isinstance(defect, NonASCIILocalPartDefect)]  # RFC 6532 allows it
    compat = message_from_string(content.decode())  # Python 3.11 adds spaces to a long display name where its other parser does not

    def mailboxes(header: str) -> list[tuple[str, str]]:
        return [(str(make_header(decode_header(name))), place) for name, place in getaddresses([str(compat.get(header, ""))]) if place]

    def body(kind: str) -> str:
        part = mail.get_body((kind,))
        return part.get_content() if part is not None else ""

    files = [part for part in mail.walk() if part.get_content_disposition() in ("attachment", "inline")]
    return {"from": mailboxes("From"), "to": mailboxes("To"), "cc": mailboxes("Cc"), "reply_to": mailboxes("Reply-To"), "subject": mail["Subject"],
            "unsubscribe": str(mail["List-Unsubscribe"] or "").partition(">")[0].removeprefix("<"), "message_id": mail["Message-ID"], "date": f"{mail['Date'].datetime.astimezone(UTC):%Y-%m-%dT%H:%M:%S.000Z}",
            "text": body("plain"), "html": body("html"), "defects": defects, "files": [
                read_file(part.get_filename(), part.get_content_type(), cast("bytes", part.get_payload(decode=True))) for part in files]}


def differences(mails: Mails) -> list[str]:
    """Each value that a parser reads and nobody wrote, each value that parsers read differently, and each defect."""
    found, first = [], dict[str, dict[str, Any]]()
    for mail, parser, raw in mails.read():
        read = {key: lines(value) if key in ("text", "html") else value for key, value in raw.items()}
        meant = first.setdefault(mail, read) | mails.meant[mail]
        name = meant.pop("called")
        for key, value in meant.items():
            if key == "files":
                found += [f"{name}: {parser} reads {one!r}, not {other!r}" for one, other in zip_longest(read[key], value) if one != other]
            elif key not in ("mail", "parser", "defects") and read.get(key) != value:
                found.append(f"{name}: {parser} reads {key} as {read.get(key)!r}, not {value!r}")
        found += [f"{name}: {parser} finds {defect}" for defect in read["defects"]]
    found += [f"{path.name}: a line of {longest} bytes" for path in mails.folder.glob("*.eml")
              if (longest := max(map(len, path.read_bytes().split(b"\r\n")))) > LONGEST_LINE]
    return found


@pytest.mark.needs("node", "mail parsers")
def test_three_parsers_read_what_was_composed(tmp_path: Path) -> None:
    mails = Mails(tmp_path / "mails")
    for person in PEOPLE:
        mails.write(f"to {person}", to=[person, ("", "b@example.com")], sender=person, reply_to=person, cc=[("C, c", "c@example.com"), person])
    mails.write("to all", to=PEOPLE, cc=PEOPLE[::-1])
    mails.write("to nobody", to=())
    mails.write("to international addresses", to=[("Müller, Jörg", "jörg@example.com"), ("北京 用户", "用户@example.com"), ("a, b", "b@example.com")],
                subject=SUBJECTS["mixed"], files=[attached(tmp_path, "Übersicht über alles, was neu ist.xlsx")])
    for address in ("jörg@example.com", "用户@example.com"):
        mails.write(f"answers to {address}", reply_to=("Jörg", address), on_behalf=address)
    mails.write("long addresses to unsubscribe", unsubscribe=f"https://example.com/{'x' * 480}", reply_to=("", f"{'y' * 64}@{'z' * 60}.{'z' * 60}.example"))
    for name, subject in SUBJECTS.items():
        mails.write(f"subject: {name}", subject=subject)
    for name, text in TEXTS.items():
        mails.write(f"text: {name}", text=text)
        mails.write(f"text and HTML: {name}", text=text, html=f"<p>{text}</p>\n")
        mails.write(f"attached: {name}", html="<p>x</p>", files=[
            attached(tmp_path, f"{name}.csv", "text/csv", text.encode(), ours=True), attached(tmp_path, f"{name}.txt", "text/plain", text.encode()),
            attached(tmp_path, f"{name} with CRLF.csv", "text/csv", text.replace("\n", "\r\n").encode(), ours=True)])
    mails.write("names", html="<p>x</p>", files=[attached(tmp_path, name) for name in [*NAMES, *map(safe_name, ODD_NAMES)]])
    mails.write("names of every length", files=[attached(tmp_path, name) for name in names_of_every_length()])
    mails.write("names of text files", files=[attached(tmp_path, name, "text/csv", b"a;b\r\n", ours=True) for name in names_of_every_length()[::9]])
    mails.write("pictures", html='<img src="cid:chart-1@example.com">', files=[attached(tmp_path, "a.pdf", "application/pdf")],
                pictures=[compose.Picture("chart-1@example.com", b"\x89PNG\r\n\x1a\n" * 40), compose.Picture("2@example.com", b"\xff\xd8", "image/jpeg")])
    mails.write("sizes", files=[attached(tmp_path, f"{size}.bin", "application/octet-stream", bytes(range(256)) * (size // 256) + bytes(size % 256))
                                for size in (0, 1, 2, 56, 57, 58, 114, 57 * 1024 - 1, 57 * 1024, 57 * 1024 + 1)])
    mails.write("signed", to=PEOPLE[3:6], subject=SUBJECTS["Chinese"], text=TEXTS["8-bit"], html=f"<p>{TEXTS['8-bit']}</p>",
                files=[attached(tmp_path, "日本語の名前.xlsx")], signer=Signer("example.com", "s1", KEY))
    assert differences(mails) == []
    assert len(mails.meant) > 60


def attached(folder: Path, name: str, content_type: str = SHEET, content: bytes = b"PK\x03\x04\x00\r\n.\r\n", *, ours: bool = False) -> Attachment:
    path = folder / f"{hashlib.sha256(name.encode() + content).hexdigest()[:20]}.file"
    path.write_bytes(content)
    return Attachment(path, name, content_type, len(content), ours=ours)


@pytest.mark.needs("node", "mail parsers")
def test_three_parsers_read_what_digests_and_alerts_and_a_test_message_say(tmp_path: Path, store: Store, site: Site, settings_from: SettingsFrom) -> None:
    """The mails of a digest that needs several, of its groups of recipients, about a change in any script."""
    (tmp_path / "dkim.pem").write_text(KEY)
    settings = settings_from(
        mail='from = "Bücher, Preise und mehr, täglich aus dem Archiv der Stadtbibliothek <pipeline@example.com>"\n'
             '[mail.dkim]\ndomain = "example.com"\nselector = "s1"\nkey = { file = "dkim.pem" }\n[alerts]\nto = ["ops@example.com"]\nafter = 1\n',
        to='["Müller, Jörg <jörg@example.com>", "a@example.com"]',
        digest='attach = ["xlsx", "csv", "downloads"]\noversize = "split"\nattach_limit = "1 MB"\nthread = true\ncharts = ["price"]\ncc = ["cc@example.com"]\n'
               '[[digests.morning.groups]]\nto = ["Zhang, San (张三) <zhang@example.com>"]\n')
    files = [(f"Übersicht {number}, 北京, ملف.pdf", random.Random(number).randbytes(450_000), "application/pdf") for number in range(3)]
    for factor in (1, 2):
        site.run({str(number): {"title": title, "price": f"£{number * factor + 0.5}", "note": text} for number, (title, text) in enumerate(
            zip(SUBJECTS.values(), TEXTS.values(), strict=False))}, files=files if factor == 2 else ())
    mails = Mails(tmp_path / "mails")
    for message_id in built(store, settings).message_ids:
        found = outbox.get(store, message_id)
        assert found is not None
        mails.add(f"digest {message_id}", store.files.path(found[0].file_key).read_bytes(), subject=found[0].subject,
                  **{"from": [("Bücher, Preise und mehr, täglich aus dem Archiv der Stadtbibliothek", "pipeline@example.com")]})
    site.run(None, outcome=Outcome.FAILED, error="books.example: Zugriff verweigert, “403”")
    (tmp_path / "run.log").write_text("GET https://books.example/ü\n" * 30)
    alerts.check(store, settings, late=[], log_of=lambda _: tmp_path / "run.log", now=NOW + timedelta(hours=1))
    for path in (store.files.path("messages")).glob("alert-*.eml"):
        mails.add("alert", path.read_bytes(), to=[("", "ops@example.com")])
    mails.add("test message", compose_test(settings, '"Müller, Jörg" <m@example.com>', NOW).as_bytes(), to=[("Müller, Jörg", "m@example.com")])
    assert differences(mails) == []
    assert {one["called"].partition(" ")[0] for one in mails.meant.values()} == {"digest", "alert", "test"}
    assert len(mails.meant) > 4
