"""The sites and settings of `benchmarks.digests`: each site before and after a change.

The pages are those of real programs in tests/data/list_pages, and changes of them as people make them.
"""

from __future__ import annotations

import hashlib
import html
import json
import random
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

PAGES = Path(__file__).parent.parent / "tests" / "data" / "list_pages"
Pages = Mapping[str, str | bytes]
"""The body of each path of a site; a missing path is answered with 404."""


@dataclass(frozen=True)
class Case:
    """One digest: the tables of its spider and of itself, and the site before and after the change."""

    spider: str
    digest: str
    before: Callable[[], Pages]
    after: Callable[[], Pages]


def real(name: str) -> str:
    """A page as its program sent it, with links that lead to the site of the case."""
    return re.sub(r"http://127\.0\.0\.1:\d+", "", (PAGES / f"{name}.html").read_text("utf-8"))


def truth(name: str) -> list[dict[str, str]]:
    """The rows of a list page, in the order of the page."""
    pages = {page["name"]: page for page in json.loads((PAGES / "pages.json").read_text("utf-8"))["pages"]}
    return [row for row in pages[name]["truth"] if isinstance(row["title"], str) and not row.get("optional")]


def picture(name: str) -> bytes:
    """A PNG of two colours that depend on the name."""
    colour, other = hashlib.sha256(name.encode()).digest()[:3], hashlib.sha256(name.encode()).digest()[3:6]
    rows = b"".join(b"\0" + (colour * 40 + other * 40 if y < 60 else other * 80) for y in range(120))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 80, 120, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# A shop: django-oscar's catalogue.

SHOP = """
items = { each = "article.product_pod", key = ["url"], fields = { title = "h3 a::attr(title)", url = "h3 a::attr(href)", \
price = { css = ".price_color", type = "price" }, stock = ".availability", image = "img::attr(src)" } }
"""


def shop() -> dict[str, str | bytes]:
    page = real("oscar-catalogue")
    return {"/catalogue/": page} | {found: picture(found) for found in re.findall(r'<img src="(/media[^"]+)"', page)}


def shop_after() -> Pages:
    pages = shop()
    page = str(pages["/catalogue/"])
    prices = re.findall(r"£[\d.]+", page)
    for number, factor in ((0, 0.8), (2, 1.05), (5, 0.5), (9, 1.2)):
        page = page.replace(prices[number], f"£{float(prices[number][1:]) * factor:.2f}", 1)
    first, last = (found.start() for found in list(re.finditer(r'<li class="col-sm', page))[::19][:2])
    page = page[:last] + page[last:].replace("In stock", "Unavailable", 1)
    return {**pages, "/catalogue/": page[:first] + page[first:].replace("Kitchen Timer", "Kitchen Timer, magnetic").replace(
        "fa-check-circle\"></i>\n    \n    \n        In stock", "fa-times\"></i>\n    \n    \n        Unavailable", 1)}


def one_price() -> Pages:
    page = real("oscar-catalogue")
    price = re.findall(r"£[\d.]+", page)[3]
    return {**shop(), "/catalogue/": page.replace(price, f"£{float(price[1:]) - 1.5:.2f}", 1)}


# A feed: the posts of a Hexo blog.

def feed(skip: int) -> Pages:
    page = real("hexo-landscape")
    posts = re.findall(r'datetime="([^"]+)".*?article-title" href="([^"]+)">([^<]+)<.*?articleBody">\s*(<p>.*?)</p>', page, re.DOTALL)
    entries = "".join(f"<item><title>{title}</title><link>{link}</link><guid>{link}</guid><pubDate>{at}</pubDate>"
                      f"<description>{escape(text)}</description></item>" for at, link, title, text in posts[skip:])
    return {"/feed.xml": f'<?xml version="1.0"?><rss version="2.0"><channel><title>Harbour Town News</title><link>/</link>{entries}</channel></rss>'}


# A sitemap: the Java API documentation.

def sitemap(seed: int, drop: int) -> Pages:
    rng = random.Random(seed)
    urls = [re.sub(r"http://127\.0\.0\.1:\d+", "", row["url"]) for row in truth("javadoc-package")]
    days = [10] * len(urls)
    for number in rng.sample(range(len(urls)), 5) if drop else ():
        days[number] = 27
    listed = "".join(f"<url><loc>HOST{html.escape(url)}</loc><lastmod>2026-11-{day:02}</lastmod></url>"
                     for url, day in list(zip(urls, days, strict=True))[drop:len(urls) - 3 + drop])
    return {"/sitemap.xml": f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{listed}</urlset>'}


# A watched page: a chapter of the Debian Administrator's Handbook in German.

def chapter() -> Pages:
    return {"/handbook.html": real("debian-handbook-chapter-de")}


def chapter_after() -> Pages:
    page = real("debian-handbook-chapter-de")
    for old, new in (("The list of services", "The complete list of services"), ("über 60000", "über 61000"),
                     ("sehr niedrige Latenz", "niedrige Latenz"), ("RFC 1918 definiert drei IPv4-Adressbereiche", "RFC 1918 definierte 1996 drei IPv4-Adressbereiche"),
                     ("10.6. IPv6", "10.6. IPv6 und Übergangstechniken")):
        assert old in page, old
        page = page.replace(old, new)
    plain = [found[0] for found in re.finditer(r'<div class="para">[^<]{200,}</div>', page)]
    return {"/handbook.html": page.replace(plain[-1], "")}


# Downloads: an nginx index of files.

def files(*new: str) -> Pages:
    index = real("nginx-autoindex")
    names = re.findall(r'<a href="([^"./][^"/]*\.[a-z.0-9]+)">', index)
    links = "".join(f'<a href="{name}">{name}</a>\n' for name in new)
    sizes = {name: 1500 + int(hashlib.sha256(name.encode()).hexdigest()[:4], 16) for name in (*names, *new)}
    return {"/pub/": index.replace("</pre>", f"{links}</pre>")} | {
        f"/pub/{name}": random.Random(name).randbytes(sizes[name] * (40 if "firmware" in name else 1)) for name in (*names, *new)}


NEW_FILES = ("Protokoll%20der%20Sitzung%20vom%2027.%20November%20(endg%C3%BCltig).pdf", "%E4%BB%B7%E7%9B%AE%E8%A1%A8.xlsx", "setup-2.1.exe",
             "firmware-2.1.0.bin", "photos%20of%20the%20harbour.zip", "minutes-2026-11.docx", "prices.csv")

# Chinese, Arabic and Hebrew.

CHINESE = [("三体：地球往事", "刘慈欣", 23.0), ("活着", "余华", 20.5), ("围城", "钱锺书", 36.0), ("红楼梦（脂砚斋全评本）", "曹雪芹", 118.0),
           ("平凡的世界（全三册）", "路遥", 108.0), ("明朝那些事儿", "当年明月", 358.2), ("城南旧事", "林海音", 16.8), ("边城", "沈从文", 19.0)]
ARABIC = [("كليلة ودمنة", "ابن المقفع", "٤٥٫٥٠ ر.س"), ("موسم الهجرة إلى الشمال", "الطيب صالح", "٣٢٫٠٠ ر.س"), ("ألف ليلة وليلة", "مجهول", "١٢٠٫٠٠ ر.س"),
          ("אהבה וחושך", "עמוס עוז", "\u200f89.00 ₪"), ("בדמי ימיה", "ש״י עגנון", "\u200f64.90 ₪"), ("رجال في الشمس (Men in the Sun)", "غسان كنفاني", "٢٨٫٧٥ ر.س")]
ABOUT_ARABIC = "طبعة جديدة منقحة، ٣١٢ صفحة، غلاف ورقي. يشحن خلال 3 أيام من الرياض."


def rows_page(rows: list[tuple[str, str, str, str]], *, lang: str = "en", right: bool = False) -> str:
    """A table of books: title, author, price and a note."""
    cells = "".join(f'<tr class="book"><td class="t"><a href="/b/{hashlib.sha256(title.encode()).hexdigest()[:8]}">{html.escape(title)}</a></td>'
                    f'<td class="a">{html.escape(author)}</td><td class="p">{price}</td><td class="n">{html.escape(note)}</td></tr>' for title, author, price, note in rows)
    return f'<html lang="{lang}"{" dir=rtl" if right else ""}><title>{rows[0][0]}</title><table>{cells}</table></html>'


BOOKS = """
items = { each = "tr.book", key = ["url"], fields = { "{title}" = ".t", url = ".t a::attr(href)", "{author}" = ".a", "{price}" = { css = ".p", type = "price" }, \
"{note}" = ".n" } }
"""


def chinese(seed: int) -> Pages:
    note = "人民文学出版社，平装，满99元包邮。" if not seed else "人民文学出版社，精装，满129元包邮，12月8日前发货。"
    rows = [(title, author, f"¥{price * (0.8 if seed and number % 3 == 0 else 1):.2f}", note if number % 2 else "有货")
            for number, (title, author, price) in enumerate(CHINESE)]
    return {"/books": rows_page(rows[:6] if not seed else rows[1:], lang="zh-CN")}


def arabic(seed: int) -> Pages:
    rows = [(title, author, price, ABOUT_ARABIC if not seed else ABOUT_ARABIC.replace("3 أيام", "5 أيام").replace("٣١٢", "٣٢٠")) for title, author, price in ARABIC]
    if seed:
        rows[1] = (rows[1][0], rows[1][1], "٢٩٫٥٠ ر.س", rows[1][3])
        rows[3] = (rows[3][0], rows[3][1], "\u200f79.00 ₪", "כריכה קשה, 592 עמודים")
    return {"/books": rows_page(rows[:5] if not seed else rows[1:], lang="ar", right=True)}


# Many changes: every title of the list pages.

def catalogue(seed: int) -> Pages:
    known = sorted({row["title"] for page in json.loads((PAGES / "pages.json").read_text("utf-8"))["pages"] for row in page["truth"]
                     if isinstance(row["title"], str) and " " in row["title"]})
    titles = [*known, *(f"{title}, second edition" for title in known), *(f"{title} (large print)" for title in known)]
    rng = random.Random(seed)
    kept = titles[:450] if not seed else titles[40:500]
    rows = [(title, "Harbour Town", f"€{12 + len(title) + (rng.randrange(5) if seed and number % 2 else 0)}.90", "") for number, title in enumerate(kept)]
    return {"/books": rows_page(rows)}


def prices_page(price: str) -> Pages:
    rows = [(title, author, price if number == 1 else "£12.50", "") for number, (title, author, _) in enumerate(CHINESE)]
    return {"/books": rows_page(rows)}


def books(title: str = "title", author: str = "author", price: str = "price", note: str = "note") -> str:
    return BOOKS.replace("{title}", title).replace("{author}", author).replace("{price}", price).replace("{note}", note)


CASES: dict[str, Case] = {
    "shop": Case(f'start = "HOST/catalogue/"{SHOP}', 'charts = ["price"]\nimages = true\ngood = { price = "down" }', shop, shop_after),
    "one-price": Case(f'start = "HOST/catalogue/"{SHOP}', "", shop, one_price),
    "feed": Case('spider = "feed"\nstart = "HOST/feed.xml"', "", lambda: feed(3), lambda: feed(0)),
    "sitemap": Case('spider = "sitemap"\nstart = "HOST/sitemap.xml"', "", lambda: sitemap(1, 0), lambda: sitemap(2, 3)),
    "handbook": Case('spider = "watch"\nstart = "HOST/handbook.html"\nwatch = { part = "div.chapter" }', "", chapter, chapter_after),
    "files": Case('start = "HOST/pub/"\ndownload = ["pre a:not([href$=\'/\'])"]\nallow_empty = true', 'attach = ["downloads"]\nattach_limit = "200kB"', files, lambda: files(*NEW_FILES)),
    "chinese": Case(f'start = "HOST/books"{books("书名", "作者", "价格", "备注")}', 'language = "zh"\nattach = ["xlsx"]', lambda: chinese(0), lambda: chinese(1)),
    "arabic": Case(f'start = "HOST/books"{books()}', "", lambda: arabic(0), lambda: arabic(1)),
    "three-hundred": Case(f'start = "HOST/books"{books()}', 'attach = ["xlsx"]', lambda: catalogue(0), lambda: catalogue(1)),
    "nothing-new": Case(f'start = "HOST/catalogue/"{SHOP}', 'empty = "send"', shop, shop),
    "problems": Case(f'start = ["HOST/books", "HOST/more"]{books()}', "", lambda: {**prices_page("£9.90"), "/more": "<p>"},
                     lambda: prices_page("call us")),
}
