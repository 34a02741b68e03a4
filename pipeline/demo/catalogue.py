"""The products of the demo shop, which depend only on the revision number of the catalogue.

Each revision removes one product of the previous revision, and changes the price or the stock of a few others. Every
second revision also adds two products.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

PAGES = 5
PER_PAGE = 8
OFFER_ID = 9001
CHINESE_ID = 9002

_MATERIALS = ("Oak", "Brass", "Linen", "Slate", "Copper", "Walnut", "Wool", "Cork", "Glass", "Clay", "Ash")
_THINGS = ("lamp", "bowl", "chair", "clock", "shelf", "teapot", "mirror", "basket", "candlestick", "tray", "vase",
           "stool", "salt & pepper set")
_PLACES = ("Århus", "Kyoto", "Zürich", "Oaxaca", "杭州", "Gdańsk", "“Nº 5”")


@dataclass(frozen=True)
class Product:
    """A product of the demo shop.

    price: the price in euro cents. stock: the number of pieces in stock.
    """

    id: int
    name: str
    price: int
    stock: int

    @property
    def price_text(self) -> str:
        return f"€{self.price // 100}.{self.price % 100:02d}"

    @property
    def stock_text(self) -> str:
        return f"{self.stock} in stock" if self.stock else "sold out"


def product(number: int, revision: int) -> Product:
    """Return a product with its price and stock in one revision of the catalogue.

    number: number of the product. revision: 1 or more.
    """
    name = f"{_MATERIALS[number % 11]} {_THINGS[number % 13]} {_PLACES[number % 7]}"
    raised = (revision + number % 9) // 9
    sold = (revision + number % 13) // 13
    return Product(number, name, 990 + number * 137 % 9000 + raised * 50, (number * 7 + 11 - sold * 3) % 25)


def products(revision: int) -> list[Product]:
    """Return all products in one revision of the catalogue, in the order of the pages."""
    count = PAGES * PER_PAGE + (revision % 2 == 0)
    return [product(number, revision) for number in range(revision, revision + count)]


def page(revision: int, number: int) -> list[Product]:
    """Return the products on one page of the catalogue; the last page contains all remaining products.

    number: number of the page, from 1 to PAGES.
    """
    found = products(revision)
    start = (number - 1) * PER_PAGE
    return found[start:] if number == PAGES else found[start:start + PER_PAGE]


def on_sale(revision: int, number: int) -> Product | None:
    if number in (OFFER_ID, CHINESE_ID):
        return special(number, revision)
    return next((found for found in products(revision) if found.id == number), None)


def special(number: int, revision: int) -> Product:
    """Return the product on the gzip-compressed or the GBK-encoded page; neither is in the catalogue.

    number: OFFER_ID for the product on the gzip-compressed page, CHINESE_ID for the product on the other page.
    """
    name = "青花瓷茶壶" if number == CHINESE_ID else "Offer of the day: cherry desk"
    return Product(number, name, 12900 + revision * 100, 3)


def as_csv(revision: int) -> bytes:
    """Return the catalogue as CSV for spreadsheet programs, in UTF-8 with a BOM and CRLF line endings."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["编号", "名称", "价格 (EUR)", "库存"])
    for found in products(revision):
        writer.writerow([found.id, found.name, f"{found.price / 100:.2f}", found.stock])
    return out.getvalue().encode("utf-8-sig")
