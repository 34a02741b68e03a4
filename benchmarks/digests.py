"""Write twelve digests and two alerts about changes of real pages.

They are crawled, built and delivered by the program's own commands.

    python -m benchmarks.digests FOLDER            # .eml, .html and .txt of each; without FOLDER: var/digests
    python -m benchmarks.digests FOLDER --shots    # and pictures at 360 and 800 pixels, light and dark (needs chromium)
    python -m benchmarks.digests FOLDER --only shop --only feed
"""

from __future__ import annotations

import argparse
import base64
import email
import json
import os
import shutil
import subprocess
import sys
import tempfile
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import cast

from benchmarks._digest_cases import CASES, Pages
from benchmarks.mail_looks import SCHEMES, WIDTHS, photograph
from tests.servers.pages import Answer, PageSite
from tests.servers.ports import free_port

TOGETHER = ("shop", "feed", "handbook", "problems")
"""The spiders of one more digest, `together`."""
TYPES = {".xml": "application/xml", ".pdf": "application/pdf", ".jpg": "image/png", ".csv": "text/csv", ".zip": "application/zip",
         ".exe": "application/octet-stream", ".bin": "application/octet-stream",
         ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
         ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document"}


def settings(names: list[str], proxy: str, mail: str) -> str:
    """A settings file with a spider and a digest for each case, and a spider whose alerts are shown. mail: more tables of [mail]."""
    toml = ['[pipeline]\ntimezone = "Europe/Berlin"\nkeep_free = "1MB"\n[heartbeat]\nport = PORT\n[mail]\nfrom = "Pipeline <pipeline@mail.example.org>"\nmaildir = "mail"'.replace("PORT", str(free_port())),
            mail, ('[alerts]\nto = ["ops@example.net"]\nafter = 1\nevery = "1s"\n[spiders.broken]\nschedule = "every 1s"\nstart = "http://broken.example/list"\nproxy = "sites"\n'
            'items = { each = "li", key = ["title"], fields = { title = "a" } }'), f'[proxies]\nsites = "{proxy}"']
    for name in names:
        case = CASES[name]
        toml.append(f'[spiders.{name}]\nproxy = "sites"\n{case.spider.strip()}\n'.replace("HOST", f"http://{name}.example"))
        toml.append(f'[digests.{name}]\nspiders = ["{name}"]\nto = ["Reader <reader@example.net>"]\n{case.digest}\n')
    if set(TOGETHER) <= set(names):
        toml.append(f'[digests.together]\nspiders = {json.dumps(TOGETHER)}\nto = ["Reader <reader@example.net>"]')
    return "\n".join(toml)


def show(site: PageSite, name: str, pages: Pages) -> None:
    """Serve these pages as http://NAME.example, of which the site is the proxy."""
    host = f"http://{name}.example"
    for path in [path for path in site.pages if path.startswith(f"{host}/")]:
        del site.pages[path]
    for path, body in pages.items():
        content = body.replace("HOST", host) if isinstance(body, str) else body
        kind = TYPES.get(Path(path).suffix, "text/html; charset=utf-8")
        site.pages[host + path] = Answer(content, headers={"Content-Type": kind})


def pipeline(folder: Path, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "pipeline", *arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False,
                          env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)})
    return done.stdout + done.stderr


def mails(folder: Path) -> list[Path]:
    return sorted((folder / "var" / "mail").rglob("new/*"), key=lambda path: path.stat().st_mtime)


def write(folder: Path, name: str, content: bytes) -> Path | None:
    """Write a mail and its parts; return the file with its HTML, in which pictures of the mail are shown."""
    (folder / f"{name}.eml").write_bytes(content)
    mail = cast("EmailMessage", email.message_from_bytes(content, policy=default))
    text, page = mail.get_body(("plain",)), mail.get_body(("html",))
    (folder / f"{name}.txt").write_text(f"Subject: {mail['Subject']}\n\n{text.get_content() if text else ''}", "utf-8")
    if page is None:
        return None
    shown = page.get_content()
    for part in mail.walk():
        if part["Content-ID"]:
            data = base64.b64encode(cast("bytes", part.get_payload(decode=True))).decode()
            shown = shown.replace(f"cid:{part['Content-ID'].strip('<>')}", f"data:{part.get_content_type()};base64,{data}")
    (folder / f"{name}.html").write_text(shown, "utf-8")
    return folder / f"{name}.html"


def build(names: list[str], target: Path, mail: str = "") -> dict[str, Path]:
    """The HTML of each digest and alert, by name; the mail is the .eml beside it. mail: more tables of [mail]."""
    found: dict[str, Path] = {}

    def keep(name: str, before: set[Path]) -> None:
        for number, path in enumerate([path for path in mails(folder) if path not in before]):
            page = write(target, name if not number else f"{name}-{number + 1}", path.read_bytes())
            if page is not None:
                found[page.stem] = page

    with tempfile.TemporaryDirectory() as scratch, PageSite() as site:
        folder = Path(scratch)
        (folder / "settings.toml").write_text(settings(names, site.url, mail), "utf-8")
        for name in names:
            show(site, name, CASES[name].before())
        print(pipeline(folder, "run", *names), flush=True)
        digests = [*names, *(["together"] if set(TOGETHER) <= set(names) else [])]
        for name in digests:
            pipeline(folder, "digest", name, "--send")
        for name in names:
            show(site, name, CASES[name].after())
        print(pipeline(folder, "run", *names), flush=True)
        for name in digests:
            before = set(mails(folder))
            print(pipeline(folder, "digest", name, "--send"))
            keep(name, before)
        for name, pages in {"alert": {}, "alert-over": {"/list": "<ul><li><a>Harbour news</a></li></ul>"}}.items():
            before = set(mails(folder))
            show(site, "broken", pages)
            print(pipeline(folder, "serve", "--once"))
            keep(name, before)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("var/digests"))
    parser.add_argument("--shots", action="store_true", help="also take pictures")
    parser.add_argument("--only", action="append", choices=sorted(CASES), help="only this digest, and the alerts")
    chosen = parser.parse_args()
    if chosen.shots and shutil.which("chromium") is None:
        print("no pictures: needs chromium")
        chosen.shots = False
    chosen.folder.mkdir(parents=True, exist_ok=True)
    names = chosen.only or list(CASES)
    found = build(names, chosen.folder)
    for name, page in found.items():
        for width in WIDTHS if chosen.shots else ():
            for scheme in SCHEMES:
                photograph(page, chosen.folder / f"{name}-{width}-{scheme}.png", width=width, scheme=scheme)
        print(f"{page.with_suffix('.eml')}: {page.stat().st_size:,} bytes of HTML")
    missing = {*names, "alert", "alert-over"} - found.keys()
    print(f"no mail: {', '.join(sorted(missing)) or 'none'}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
