"""Ten different digests in a store: English and Chinese, small and large, with and without files."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from pipeline.mail.digests.build import build
from pipeline.model import Outcome
from pipeline.settings import load
from pipeline.store import Store, open_store
from pipeline.store.mail import digests
from pipeline.store.mail import outbox as stored
from tests.mail.conftest import NOW, Site

TITLES = ["A Light in the Attic", "Tipping the Velvet", "Soumission", "Sharp Objects", "Sapiens: A Brief History of Humankind",
          "The Requiem Red", "The Dirty Little Secrets of Getting Your Dream Job", "The Coming Woman", "The Boys in the Boat",
          "The Black Maria", "Starving Hearts", "Shakespeare's Sonnets", "Set Me Free", "Olio", "Mesaerion"]
CHINESE = ["三体：地球往事", "活着", "围城", "红楼梦（脂砚斋全评本）", "平凡的世界", "明朝那些事儿", "城南旧事", "边城", "骆驼祥子", "黄金时代"]
NEWS = ["国家统计局发布十月份居民消费价格指数", "北京至雄安城际铁路新增动车组列车", "我国科学家在量子计算领域取得新进展",
        "多地推出措施促进新能源汽车消费", "今年前三季度货物贸易进出口总值同比增长", "气象部门：北方地区将迎来大范围降温"]
ABOUT = ("It's hard to imagine a world without this book. This now-classic collection of poetry and drawings celebrates "
         "its 20th anniversary with this special edition.")
NOTICE = "公司将于2026年12月1日召开临时股东大会，审议关于调整募集资金投资项目的议案，股权登记日为2026年11月24日。"


def book(number: int, price: float) -> dict[str, Any]:
    return {"title": f"{TITLES[number % len(TITLES)]}{'' if number < len(TITLES) else f' ({number // len(TITLES) + 1})'}",
            "price": f"£{price:.2f}", "stock": "In stock", "url": f"https://books.example/catalogue/{number}/index.html",
            "about": ABOUT}


def chinese_book(number: int, price: float) -> dict[str, Any]:
    return {"书名": CHINESE[number % len(CHINESE)], "价格": f"¥{price:.2f}", "出版社": "人民文学出版社", "库存": "有货",
            "url": f"https://shop.example/items/{number}.html"}


def digest_tables() -> dict[str, str]:
    """The [digests.NAME] table of each, but for its spiders and recipients."""
    return {"books": "", "prices": 'charts = ["price"]\nattach = ["xlsx"]', "catalogue": 'attach = ["csv"]',
            "papers": 'attach = ["downloads"]', "troubles": "", "shudian": 'language = "zh"\nattach = ["xlsx"]',
            "jiage": 'language = "zh"\ncharts = ["价格"]', "xinwen": 'language = "zh"\nthread = true',
            "gonggao": 'language = "zh"\nattach = ["csv", "downloads"]', "quiet": 'empty = "send"'}


def fill(site: Site) -> None:
    """Two runs of each spider, named as its digest is; the first is told before the second."""
    rng = random.Random(7)
    pdf = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
    prices = {n: round(rng.uniform(10, 60), 2) for n in range(800)}
    site.run({str(n): book(n, prices[n]) for n in range(12)}, spider="books")
    for factor in (1.0, 0.9, 1.1, 1.05):
        site.run({str(n): book(n, prices[n] * factor) for n in range(8)}, spider="prices")
    site.run({str(n): book(n, prices[n]) for n in range(750)}, spider="catalogue")
    site.run({"1": {"title": "Minutes of the November meeting", "url": "https://council.example/minutes/11"}}, spider="papers",
             files=[("minutes-2026-11.pdf", pdf, "application/pdf"), ("agenda.pdf", pdf, "application/pdf")])
    site.run({str(n): book(n, prices[n]) for n in range(5)}, spider="troubles")
    site.run({str(n): chinese_book(n, prices[n]) for n in range(10)}, spider="shudian")
    for factor in (1.0, 0.95, 1.02, 0.88):
        site.run({str(n): chinese_book(n, prices[n] * factor) for n in range(6)}, spider="jiage")
    site.run({str(n): {"标题": title, "来源": "新华社", "摘要": NOTICE, "url": f"https://news.example/{n}.html"}
              for n, title in enumerate(NEWS)}, spider="xinwen")
    site.run({"1": {"标题": "关于召开2026年第二次临时股东大会的通知", "正文": NOTICE, "url": "https://notice.example/1"}},
             spider="gonggao", files=[("股东大会通知.pdf", pdf, "application/pdf")])
    site.run({str(n): book(n, prices[n]) for n in range(3)}, spider="quiet")


def change(site: Site) -> None:
    rng = random.Random(8)
    site.run({str(n): book(n, rng.uniform(10, 60)) for n in range(2, 15)}, spider="books")
    site.run({str(n): book(n, rng.uniform(10, 60)) for n in range(8)}, spider="prices")
    site.run({str(n): book(n, rng.uniform(10, 60)) for n in range(40, 790)}, spider="catalogue")
    site.run({"1": {"title": "Minutes of the November meeting (corrected)", "url": "https://council.example/minutes/11"}},
             spider="papers", files=[("minutes-2026-11-corrected.pdf", b"%PDF-1.4\n%%EOF\n", "application/pdf")])
    site.run(None, spider="troubles", outcome=Outcome.FAILED, error="books.example: the login was not proved: no element "
             "matches a[href*='logout']")
    site.run({str(n): chinese_book(n, rng.uniform(20, 90)) for n in range(3, 10)}, spider="shudian")
    site.run({str(n): chinese_book(n, rng.uniform(20, 90)) for n in range(6)}, spider="jiage")
    site.run({str(n): {"标题": title, "来源": "人民日报", "摘要": NOTICE.replace("12月1日", "12月8日"),
                       "url": f"https://news.example/{n}.html"} for n, title in enumerate(NEWS)}, spider="xinwen")
    site.run({"1": {"标题": "关于召开2026年第二次临时股东大会的通知（更正）", "正文": NOTICE.replace("24日", "25日"),
                    "url": "https://notice.example/1"}}, spider="gonggao",
             files=[("股东大会通知（更正）.pdf", b"%PDF-1.4\n%%EOF\n", "application/pdf")])
    site.run({str(n): book(n, 1) for n in range(0)} or None, spider="quiet", outcome=Outcome.STOPPED)


def ten(folder: Path, *, sender: str = "Book Watch <pipeline@mail.example.org>", to: str = "reader@example.net",
        dkim_domain: str = "mail.example.org") -> Iterator[tuple[str, Path, bytes]]:
    """Name and file of each digest's second mail, signed; and the public key in DER."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (folder / "dkim.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    tables = digest_tables()
    toml = f'[mail]\nfrom = "{sender}"\n[mail.dkim]\ndomain = "{dkim_domain}"\nselector = "s1"\nkey = {{ file = "dkim.pem" }}\n'
    toml += "".join(f'[spiders.{name}]\nstart = "https://site.example/"\n' for name in tables)
    toml += "".join(f'[digests.{name}]\nspiders = ["{name}"]\nto = ["{to}"]\n{table}\n' for name, table in tables.items())
    (folder / "settings.toml").write_text(toml, "utf-8")
    settings = load(folder / "settings.toml")
    store: Store = open_store(folder / "var")
    site = Site(store, at=NOW - timedelta(hours=5))
    fill(site)
    claims = {}
    for step in (fill, change):
        if step is change:
            change(site)
        for name in tables:
            claims[name] = digests.claim(store, name, [name], step.__name__, owner="me", now=NOW)
            claim = claims[name]
            assert claim is not None
            built = build(store, settings, claim, owner="me", now=NOW)
            if step is change:
                message = stored.get(store, built.message_ids[0])
                assert message is not None
                yield name, store.files.path(message[0].file_key), public
    store.close()
