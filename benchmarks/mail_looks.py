"""Pictures of digests and alerts on a phone and a desktop, light and dark, for looking at.

It also writes the messages themselves in a Maildir, for text clients.

    python -m benchmarks.mail_looks FOLDER          # needs chromium; without FOLDER: var/looks
"""

from __future__ import annotations

import email
import html
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from email.policy import default
from pathlib import Path
from typing import Any

from sqlalchemy import select

from benchmarks._books import ABOUT, book, chinese_book
from pipeline.mail import alerts
from pipeline.mail.digests.build import build
from pipeline.mail.outbox import RetryPolicy, deliver_due
from pipeline.mail.transports.maildir import MaildirTransport
from pipeline.model import Outcome, Reject
from pipeline.settings import Settings, load
from pipeline.store import Store, open_store
from pipeline.store.database.schema import digest_runs, runs
from pipeline.store.mail import digests
from tests.mail.conftest import NOW, Clock, Site

WIDTHS = (360, 800)
SCHEMES = {"light": 1, "dark": 0}
HEIGHT = 1500
TERMS = [f"{number}. The customer may cancel within {number} days after delivery, in writing." for number in range(1, 40)]
ARTICLE = ("<article><h2>Harbour news</h2><p>The <strong>new lock</strong> opens on <em>12 December</em>; see "
           '<a href="/lock">the plans</a>.</p><ul><li>Ships up to 135 m</li><li>Two chambers</li></ul>'
           "<table><tr><th>Chamber</th><th>Length</th><th>Width</th></tr><tr><td>North</td><td>190 m</td><td>25 m</td></tr>"
           "<tr><td>South</td><td>190 m</td><td>12.5 m</td></tr></table><script>alert(1)</script></article>")
PDF = b"%PDF-1.4\n%%EOF\n" * 3000

Fill = Callable[[Site, str], None]


def _prices(factor: float, count: int, seed: int = 3) -> dict[str, dict[str, Any]]:
    rng = random.Random(seed)
    return {str(n): book(n, round(rng.uniform(10, 60) * factor, 2)) for n in range(count)}


def _two(site: Site, spider: str) -> None:
    site.run(_prices(1, 3), spider=spider)
    site.run(_prices(1, 4) | {"1": book(1, 9.99)}, spider=spider, files=[("catalogue-november.pdf", PDF, "application/pdf")])


def _many(count: int) -> Fill:
    def fill(site: Site, spider: str) -> None:
        site.run(_prices(1, count), spider=spider)
        now = {str(n): {**book(n, 5 + n % 50), "about": ABOUT.replace("20th", f"{n % 90}th")} for n in range(count // 2)}
        site.run(now | {str(n): book(n, 7) for n in range(count, count + count // 2)}, spider=spider)

    return fill


def _chinese(site: Site, spider: str) -> None:
    site.run({str(n): chinese_book(n, 30 + n) for n in range(8)}, spider=spider)
    site.run({str(n): chinese_book(n, 28 + n) for n in range(3, 10)}, spider=spider, files=[("价目表（十一月）.pdf", PDF, "application/pdf")],
             rejects=[Reject("价格 is missing", {"书名": "无价之书"}, "9")])


def _troubles(site: Site, spider: str) -> None:
    site.run(_prices(1, 3), spider=spider)
    site.run(_prices(1, 3), spider=spider)
    site.run({}, spider=spider, rejects=[Reject(f"price: 'call us' is no number (page {n % 2})", {"title": "x"}, str(n)) for n in range(7)])
    site.run(None, spider="login", outcome=Outcome.FAILED, error="books.example: the login was not proved: no element matches "
             "a[href*='logout'] on https://books.example/account/overview?session=expired&next=/catalogue")
    site.run(None, spider="slow", outcome=Outcome.TIMED_OUT, error="the time limit of 6 h was reached")
    site.run(_prices(1, 1), spider="slow")


def _charts(site: Site, spider: str) -> None:
    site.at -= timedelta(days=20)
    for factor in (1.0, 0.9, 1.1, 1.05, 0.8):
        site.at += timedelta(days=4)
        site.run(_prices(factor, 3), spider=spider)


def _html(site: Site, spider: str) -> None:
    site.run({"1": {"title": "Old news", "url": "https://port.example/1", "body": ARTICLE}}, spider=spider)
    site.run({"1": {"title": "Old news", "url": "https://port.example/1", "body": ARTICLE.replace("12 December", "3 January")},
              "2": {"title": "Harbour news", "url": "https://port.example/2", "body": ARTICLE}}, spider=spider)


def _watch(site: Site, spider: str) -> None:
    def page(lines: list[str]) -> dict[str, dict[str, Any]]:
        return {"https://terms.example/": {"url": "https://terms.example/", "name": "Terms and conditions", "text": "\n".join(lines)}}

    site.run(page(TERMS), spider=spider)
    edited = [line.replace("in writing", "in writing or by e-mail") if number in {4, 20} else line for number, line in enumerate(TERMS)]
    site.run(page([*edited[:10], "A clause about deliveries to islands.", *edited[12:]]), spider=spider)


def _hostile(site: Site, spider: str) -> None:
    site.run({"1": {"title": "x" * 300, "url": "https://example.com/" + "long-path-" * 40, "word": "unbreakable" * 60,
                    "rtl": "שלום עולם and مرحبا", "script": "<script>alert(1)</script>", "emoji": "👩‍👩‍👧‍👦 fine"}}, spider=spider)


KINDS: dict[str, tuple[str, Fill]] = {
    "none": ('empty = "send"', lambda site, spider: [site.run(_prices(1, 3), spider=spider) for _ in range(2)] and None),
    "two": ('attach = ["xlsx", "downloads"]', _two),
    "two-hundred": ('attach = ["csv"]', _many(200)),
    "twenty-thousand": ('attach = ["xlsx"]', _many(20_000)),
    "chinese": ('language = "zh"\nattach = ["xlsx", "downloads"]', _chinese),
    "troubles": ("", _troubles),
    "charts": ('charts = ["price"]', _charts),
    "html": ("", _html),
    "watch": ("", _watch),
    "odd": ("", _hostile),
}


def settings_in(folder: Path, mail: str, to: str) -> Settings:
    spiders = [*KINDS, "login", "slow"]
    toml = f'[mail]\n{mail}\n[alerts]\nto = ["{to}"]\nafter = 1\nevery = "1s"\n'
    toml += "".join(f'[spiders.{name}]\nstart = "https://site.example/"\n' for name in spiders)
    toml += '[spiders.html.items.fields]\ntitle = "h1"\nurl = "a::attr(href)"\nbody = { css = "article", type = "html" }\n'
    for name, (table, _) in KINDS.items():
        of = '"troubles", "login", "slow"' if name == "troubles" else f'"{name}"'
        toml += f'[digests.{name}]\nspiders = [{of}]\nto = ["{to}"]\n{table}\n'
    (folder / "settings.toml").write_text(toml, "utf-8")
    return load(folder / "settings.toml")


def pages_of(store: Store, settings: Settings, folder: Path) -> dict[str, Path]:
    """The HTML of each digest and alert, by name."""
    found = {}
    for name, (_, fill) in KINDS.items():
        site = Site(store, at=NOW - timedelta(hours=2), slots=1000 * len(found))
        first = name != "odd"
        fill(site, name)
        if first:  # what the earlier runs found is told apart, so that the last shows changes
            _tell_first(store, name)
        claim = digests.claim(store, name, settings.digests[name].spiders, "second", owner="me", now=NOW, even_empty=True)
        assert claim is not None
        built = build(store, settings, claim, owner="me", now=NOW)
        found[name] = store.files.path(built.html_keys[0])
    log = folder / "run.log"
    log.write_text("2026-11-22 07:00:01 GET https://books.example/login\n2026-11-22 07:00:02 the login was not proved\n" * 8)
    for step in ("start", "over"):
        if step == "over":
            site = Site(store, at=NOW, slots=90_000)
            site.run({"1": book(1, 2)}, spider="login")
            site.run(_prices(1, 3), spider="troubles")
        at = NOW if step == "start" else NOW + timedelta(hours=2)
        alerts.check(store, settings, late=[], log_of=lambda _: log, now=at)
    return found


def _tell_first(store: Store, name: str) -> None:
    """Close a claim on all runs of the spider but the last, as if they had been told."""
    with store.write() as connection:
        ids = connection.execute(select(runs.c.id).where(runs.c.spider == name).order_by(runs.c.id)).scalars().all()
        digest_id = connection.execute(digests.digests.insert().values(
            name=name, slot_key="first", created_at=NOW, closed_at=NOW)).inserted_primary_key[0]
        for run_id in ids[:-1]:
            connection.execute(digest_runs.insert().values(name=name, run_id=run_id, digest_id=digest_id))


def photograph(page: Path, target: Path, *, width: int, scheme: str) -> None:
    """A frame of `width` pixels, since a window of chromium's is never narrower than 500."""
    frame = page.with_suffix(f".{width}.frame.html")
    frame.write_text(f'<body style="margin:0"><iframe srcdoc="{html.escape(page.read_text("utf-8"))}" '
                     f'style="border:0;width:{width}px;height:{HEIGHT}px"></iframe>', "utf-8")
    subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--screenshot={target}",
                    f"--window-size={width},{HEIGHT}", f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}", frame.as_uri()],
                   check=True, capture_output=True, timeout=120)


def html_of_all(folder: Path, mail: str = 'from = "Pipeline <pipeline@example.com>"', to: str = "me@example.com") -> dict[str, Path]:
    """The HTML of every digest and alert, by name; the mails are in folder/Maildir. mail: the table [mail]; to: who gets them."""
    settings = settings_in(folder, mail, to)
    store = open_store(folder / "var")
    pages = pages_of(store, settings, folder)
    deliver_due(store, MaildirTransport(folder / "Maildir"), owner="me", now=Clock(NOW + timedelta(days=1)), policy=RetryPolicy(1e9))
    store.close()
    for file in (folder / "Maildir" / "new").iterdir():
        mail = email.message_from_bytes(file.read_bytes(), policy=default)
        part = mail.get_body(("html",))
        if "[alert]" in mail["Subject"] and part is not None:
            name = "alert-over" if " over" in mail["Subject"] else "alert-start"
            pages[name] = folder / f"{name}.html"
            pages[name].write_text(part.get_content(), "utf-8")
    return pages


def main() -> None:
    if shutil.which("chromium") is None:
        print("skipped: needs chromium")
        return
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "var/looks")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name, page in html_of_all(Path(scratch)).items():
            for width in WIDTHS:
                for scheme in SCHEMES:
                    photograph(page, folder / f"{name}-{width}-{scheme}.png", width=width, scheme=scheme)
            print(f"{name}: {page.stat().st_size} bytes of HTML")
        shutil.copytree(Path(scratch) / "Maildir", folder / "Maildir", dirs_exist_ok=True)


if __name__ == "__main__":
    main()
