"""Run every recipe of docs/cookbook.md with its own settings against local servers."""

from __future__ import annotations

import email
import email.policy
import json
import mailbox
import re
import socket
from collections.abc import Callable
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path

import pytest

from pipeline.cli.deliveries import send_digest
from pipeline.settings import load
from pipeline.store import open_store
from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.program import Program
from tests.servers.proxies import start_http_proxy

PAGE = (Path(__file__).parents[2] / "docs" / "cookbook.md").read_text("utf-8")
RECIPES = dict(re.findall(r"^## (.+?)\n.*?```toml\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL))
PASSWORD = "opens-the-wish-list"
PDF = b"%PDF-1.4\n%%EOF\n"


@pytest.fixture
def cook(program: Program, site: PageSite) -> Callable[..., Program]:
    """Writes a recipe with our site as its site."""
    program.environment["SHOP_PASSWORD"] = PASSWORD

    def cook(title: str, *, pool: tuple[str, ...] = ()) -> Program:
        settings = re.sub(r"https://\w+\.example", site.url, RECIPES[title]).replace('delay = "1s"', 'delay = "0s"')
        if pool:
            settings = settings.replace('["http://10.0.0.1:3128", "http://10.0.0.2:3128"]', json.dumps(list(pool)))
        program.write(settings)
        return program

    return cook


def done(program: Program, *arguments: str) -> str:
    found = program.run(*arguments)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def tell(program: Program, name: str) -> None:
    """What `pipeline digest NAME --send` does, without starting Python once more."""
    settings = load(program.folder / "settings.toml")
    store = open_store(settings.data_dir)
    assert send_digest(store, settings, name, say=lambda _: None) == 0
    store.close()


def mails(program: Program) -> list[EmailMessage]:
    found = [email.message_from_bytes(bytes(one), policy=email.policy.default) for one in mailbox.Maildir(program.data / "mail")]
    assert all(isinstance(one, EmailMessage) for one in found)
    return found


def feed(*titles: str) -> Answer:
    entries = "".join(f"<item><title>{title}</title><link>http://n.example/{title[:5]}</link><guid>{title}</guid>"
                      f"<pubDate>{formatdate()}</pubDate></item>" for title in titles)
    return Answer(f"<rss version='2.0'><channel><title>N</title>{entries}</channel></rss>",
                  headers={"Content-Type": "application/rss+xml"})


def test_every_recipe_has_a_test_here() -> None:
    assert set(RECIPES) == {"A news digest", "A price watch behind a login", "A PDF collector", "A pool of proxies"}


def test_the_news_digest_reports_new_entries_about_its_subjects(cook, site: PageSite) -> None:
    site.pages = {"/feed.xml": feed("Solar roofs pay off", "Parliament adjourns"), "/science.atom": feed("More wind at sea")}
    program = cook("A news digest")
    done(program, "run", "news")
    tell(program, "news")
    mail, = mails(program)
    text = mail.get_body(("plain",)).get_content()
    assert "Solar roofs" in text
    assert "wind at sea" in text
    assert "Parliament" not in text
    assert mail["Subject"].startswith("News, ")


def test_the_price_watch_logs_in_and_reports_lower_prices(cook, site: PageSite) -> None:
    prices = {"lamp": 100.0, "chair": 50.0}

    def wishlist(asked: Asked) -> Answer:
        if "sid=in" not in asked.headers.get("Cookie", ""):
            return Answer(status=302, headers={"Location": "/login"})
        return Answer("<a href=/logout>out</a>" + "".join(
            f"<li class=product><h2>{name}</h2><a href=/{name}>see</a><b class=price>€ {price:.2f}</b></li>"
            for name, price in prices.items()))

    def login(asked: Asked) -> Answer:
        if asked.method == "POST":
            right = PASSWORD.encode() in asked.body and b"csrf=77" in asked.body
            return Answer(status=302, headers={"Location": "/wishlist", "Set-Cookie": "sid=in"} if right else {"Location": "/login"})
        return Answer("<form method=post><input name=username><input type=password name=password>"
                      "<input type=hidden name=csrf value=77><button>in</button></form>")

    site.pages = {"/wishlist": wishlist, "/login": login}
    program = cook("A price watch behind a login")
    done(program, "run", "wishlist")
    tell(program, "cheaper")
    assert mails(program) == []
    prices |= {"lamp": 80.0, "chair": 49.5}  # a fifth, and one per cent
    done(program, "run", "wishlist")
    tell(program, "cheaper")
    mail, = mails(program)
    text = mail.get_body(("plain",)).get_content()
    assert "lamp" in text
    assert "80" in text
    assert "chair" not in text


def test_the_collector_stores_each_pdf_and_attaches_new_ones(cook, site: PageSite) -> None:
    pdf = Answer(PDF, headers={"Content-Type": "application/pdf"})
    site.pages = {"/archive/": "<a class=year href=/archive/2025>2025</a><a href=/minutes.pdf>m</a>",
                  "/archive/2025": "<a href=/old.pdf>o</a><a href=/other.html>x</a>", "/minutes.pdf": pdf,
                  "/old.pdf": Answer(PDF + b"old", headers={"Content-Type": "application/pdf"})}
    program = cook("A PDF collector")
    done(program, "run", "reports")
    files = sorted((program.data / "downloads" / "reports").glob("*/*.pdf"))
    assert [file.name for file in files] == ["minutes.pdf", "old.pdf"]
    assert files[0].read_bytes() == PDF
    tell(program, "reports")
    mail, = mails(program)
    assert {part.get_filename() for part in mail.iter_attachments()} == {"minutes.pdf", "old.pdf"}


def test_the_pool_continues_with_another_proxy_and_never_without_one(cook, site: PageSite) -> None:
    site.pages = {"/": "<article><h2>Lamp</h2><a href=/lamp>see</a></article>"}
    with socket.socket() as down, start_http_proxy() as up:
        down.bind(("127.0.0.1", 0))  # bound and not listening: nobody answers there
        program = cook("A pool of proxies", pool=(f"http://127.0.0.1:{down.getsockname()[1]}", f"http://{up}"))
        assert "1 item, 1 new" in done(program, "run", "shop")
    assert site.asked
    assert all("Via" in asked.headers for asked in site.asked[:1])
