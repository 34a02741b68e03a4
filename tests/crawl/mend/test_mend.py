"""New rules are derived from the stored values after a site has changed its markup."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.cli.pages.mend import fetched
from pipeline.crawl.extract import Document, ItemRules, LinkRules
from pipeline.crawl.mend import Mending, mend, merged
from pipeline.crawl.mend.details_rules import mend_details
from pipeline.settings import SelectorTable, SpiderTable

WORDS = ["apple", "bread", "cheese", "dates", "eggs", "figs", "grapes", "honey", "ice", "jam", "kale", "lemon", "mango", "nuts", "olives",
         "peas", "quince", "rice", "salt", "tea", "water", "yeast", "zest", "almond"]
Book = dict[str, Any]
BOOKS: list[Book] = [{"id": at + 1, "title": f"The complete {word} cookbook", "cents": 1000 + at * 137, "stock": at % 7} for at, word in enumerate(WORDS)]


def price(book: Book) -> str:
    return f"£{book['cents'] / 100:.2f}"


def page_of(rows: str) -> str:
    return f"<html><body><nav><ul><li><a href='/'>Home</a></li><li><a href='/about'>About</a></li></ul></nav>{rows}<footer><p>Shop</p></footer></body></html>"


def original(books: list[Book]) -> str:
    return page_of("<ol>" + "".join(
        f"<li><article class='product'><h3><a href='/books/{book['id']}.html' title='{book['title']}'>{book['title'][:14]}…</a></h3>"
        f"<p class='price'>{price(book)}</p><p class='stock'>In stock ({book['stock']} available)</p></article></li>" for book in books) + "</ol>")


def other_classes(books: list[Book]) -> str:
    return original(books).replace("product", "card").replace("class='price'", "class='amount'").replace("class='stock'", "class='left'")


def hashed_classes(books: list[Book]) -> str:
    return original(books).replace("'product'", "'sc-1x9z8k'").replace("'price'", "'css-8fj2k1'").replace("'stock'", "'css-0a9x1p'")


def table(books: list[Book]) -> str:
    return page_of("<table><tr><th>Availability</th><th>Title</th><th>Price</th></tr>" + "".join(
        f"<tr><td>In stock ({book['stock']} available)</td><td><b><a href='/books/{book['id']}.html'>{book['title']}</a></b></td>"
        f"<td>{price(book)}</td></tr>" for book in books) + "</table>")


def grid_of_rows(books: list[Book]) -> str:
    cells = [f"<div class='cell'><a class='cover' href='/books/{book['id']}.html'><img src='/c/{book['id']}.png' alt='{book['title']}'></a>"
             f"<div><span>In stock ({book['stock']} available)</span> <span class='cost'>{price(book)}</span></div></div>" for book in books]
    return page_of("<main>" + "".join(f"<div class='cells'>{''.join(cells[at:at + 3])}</div>" for at in range(0, len(cells), 3)) + "</main>")


def sentence(books: list[Book]) -> str:
    return page_of("".join(
        f"<section><a href='/books/{book['id']}.html'>{book['title']}</a><p>Title: {book['title']}. Price: {price(book)}, "
        f"and ({book['stock']} available)</p></section>" for book in books))


def split_text(books: list[Book]) -> str:
    return page_of("".join(
        f"<div class='book'><h2><a href='/books/{book['id']}.html'><span>{book['title'][:5]}</span>{book['title'][5:]}</a></h2><div><i>£</i>"
        f"<b>{book['cents'] // 100}</b><sup>.{book['cents'] % 100:02}</sup></div><em>In stock (<b>{book['stock']}</b> available)</em></div>"
        for book in books))


def in_attributes(books: list[Book]) -> str:
    return page_of("".join(
        f"<div data-name='{book['title']}' data-price='{book['cents'] / 100:.2f}' data-href='/books/{book['id']}.html'>"
        f"<button>Buy</button><span>({book['stock']} available)</span></div>" for book in books))


def pairs(books: list[Book]) -> str:
    return page_of("<dl>" + "".join(
        f"<dt><a href='/books/{book['id']}.html'>{book['title']}</a></dt><dd><i class='cost'>{price(book)}</i> <i>({book['stock']} available)</i></dd>"
        for book in books) + "</dl>")


REDESIGNS = [pairs, other_classes, hashed_classes, table, grid_of_rows, sentence, split_text, in_attributes]


def spider(**items: Any) -> SpiderTable:
    fields = {"title": "h3 a::attr(title)", "url": "h3 a::attr(href)", "price": {"css": ".price", "type": "price", "currency": "GBP"},
              "stock": {"css": ".stock", "regex": r"\((\d+)", "type": "number"}}
    return SpiderTable.model_validate({"start": ["https://shop.example/list"], "items": {
        "each": "article.product", "key": ["url"], "fields": fields} | items})


def document(html: str, number: int = 1) -> Document:
    return Document(url=f"https://shop.example/list/{number}", status=200, text=html, headers=dict)


def pages(design: Callable[[list[Book]], str], books: list[Book], size: int = 8) -> list[Document]:
    return [document(design(books[at:at + size]), at) for at in range(0, len(books), size)]


def rows(table_: SpiderTable, documents: list[Document]) -> list[dict[str, Any]]:
    assert table_.items is not None
    return [item for one in documents for item in ItemRules(table_.items.fields, table_.items.each).extract(one).items]


def applied(table_: SpiderTable, mending: Mending) -> SpiderTable:
    """The spider after the proposal was written to the settings."""
    written = table_.model_dump(by_alias=True, exclude_unset=True, mode="json") | {"start": ["https://shop.example/list"]}
    return SpiderTable.model_validate(merged(written, mending.changes))


def plain(found: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["title"], row["url"], row["price"]["amount"], row["price"]["currency"], row["stock"]) for row in found]


@pytest.mark.parametrize("redesign", REDESIGNS, ids=lambda redesign: redesign.__name__)
def test_a_redesigned_list_gives_the_same_items_with_the_proposed_rules(redesign: Callable[[list[Book]], str]) -> None:
    known = rows(spider(), pages(original, BOOKS))
    changed = [book | {"cents": book["cents"] + 1} if at % 5 == 0 else book for at, book in enumerate(BOOKS[3:])]
    new = {"id": 900, "title": "A book that is not stored yet", "cents": 4242, "stock": 3}
    after = pages(redesign, [*changed, new])

    found = mend(spider(), after, known)

    assert found.changes, (found.reason, found.tried)
    expected = plain(rows(spider(), pages(original, [*changed, new])))
    assert plain(rows(applied(spider(), found), after)) == expected
    assert found.pages == len(after)
    assert {entry.field: entry.agree for entry in found.agreement} == {"title": 21, "url": 21, "price": 16, "stock": 21}


def test_rules_that_still_work_are_kept_when_one_field_breaks() -> None:
    known = rows(spider(), pages(original, BOOKS))
    after = [document(original(BOOKS).replace("class='price'", "class='amount'"))]

    found = mend(spider(), after, known)

    assert found.changes == {"items": {"fields": {"price": {"css": ".amount", "type": "price", "currency": "GBP"}}}}
    assert found.agreement_line == "title 24 of 24, url 24 of 24, price 24 of 24, stock 24 of 24 known values agree on 1 page"
    assert found.before[0] == known[0]
    assert found.after[0] == known[0]


def test_a_price_is_read_from_its_own_cell_and_not_from_the_text_of_the_whole_row() -> None:
    known = [{"title": book["title"], "url": f"http://shop.test/books/{book['id']}.html", "price": {
        "amount": book["cents"] / 100, "currency": "GBP", "text": price(book)}} for book in BOOKS]
    rules = SpiderTable.model_validate({"start": "http://shop.test/", "items": {"each": ".product", "key": ["url"], "fields": {
        "title": "h3 a", "url": "h3 a::attr(href)", "price": {"css": ".price", "type": "price"}}}})
    after = page_of("<table><tr><th>Title</th><th>Price</th><th>Left</th></tr>" + "".join(
        f"<tr><td><a href='/books/{book['id']}.html'>{book['title']}</a></td><td>{price(book)}</td><td>yes</td></tr>" for book in BOOKS) + "</table>")

    found = mend(rules, [Document(url="http://shop.test/", status=200, text=after, headers=dict)], known)

    assert found.changes["items"]["fields"]["price"] == {"css": "td:nth-of-type(2)", "type": "price"}


FURNITURE = ["Tisch", "Stuhl", "Regal", "Lampe", "Sofa", "Bett", "Schrank", "Hocker"]
MIXED = {
    "own text": "<p><a href=/p/{id}>{title}</a> – {price} ({stock})</p>",
    "one text": "<p><a href=/p/{id}>{title} – {price} ({stock})</a></p>",
    "text before": "<p>{price} <a href=/p/{id}>{title}</a> [{stock}]</p>",
    "own element": "<p><a href=/p/{id}>{title}</a> <b>{price}</b> <i>{stock}</i></p>",
    "title outside of the link": "<p><b>{title}</b> {price} <a href=/p/{id}>mehr</a> ({stock})</p>",
}


def furniture(html: str, title: str, number: int, euros: str, stock: str = "weg") -> str:
    return html.format(id=number, title=title, price=euros, stock=stock)


@pytest.mark.parametrize("html", MIXED.values(), ids=MIXED.keys())
@pytest.mark.parametrize("has_title", [True, False], ids=["with the title", "without the title"])
@pytest.mark.parametrize("kind", ["price", "number"])
def test_a_price_is_never_taken_from_a_title_in_the_same_text(html: str, kind: str, *, has_title: bool) -> None:
    fields: dict[str, Any] = {"title": "h3", "url": "a::attr(href)", "price": {"css": ".price", "type": kind, "decimal": ","}, "stock": ".stock"}
    if not has_title:
        del fields["title"]
    rules = SpiderTable.model_validate({"start": ["https://shop.example/list"], "items": {"each": ".item", "key": ["url"], "fields": fields}})
    before = "<div class=item><h3>{title}</h3><a href=/p/{id}>mehr</a><b class=price>{price}</b><i class=stock>{stock}</i></div>"
    entries = [(title, at, f"{at * 7 + 60},00 €", "weg" if at % 3 else "da") for at, title in enumerate(FURNITURE, 1)]
    known = rows(rules, [document("".join(furniture(before, *entry) for entry in entries))])
    voucher = furniture(html, "Gutschein 50 €", 99, "Preis auf Anfrage")
    dearer = furniture(html, "Gutschein 50 €", 98, "80,00 €")

    found = mend(rules, [document("<main>" + "".join(furniture(html, *entry) for entry in entries) + "</main>")], known)

    after = rows(applied(rules, found), [document(f"<main>{dearer}{voucher}{furniture(html, *entries[0])}</main>")]) if found.changes else []
    amounts = {row["url"]: row["price"]["amount"] if isinstance(row.get("price"), dict) else row.get("price") for row in after}
    assert found.changes or html == MIXED["one text"], found.tried
    assert not after or amounts.pop("https://shop.example/p/98") == 80, found.changes
    assert not after or amounts.pop("https://shop.example/p/1") == 67, found.changes
    assert set(amounts.values()) <= {None}, found.changes
    assert {row["stock"] for row in after} <= {"weg", None}, found.changes


def test_nothing_is_proposed_while_the_rules_work() -> None:
    known = rows(spider(), pages(original, BOOKS))

    found = mend(spider(), pages(original, BOOKS), known)

    assert not found.is_needed
    assert not found.changes


def test_a_proposal_is_sure_when_three_pages_agree() -> None:
    known = rows(spider(), pages(original, BOOKS))

    assert mend(spider(), pages(table, BOOKS), known).is_sure
    assert not mend(spider(), pages(table, BOOKS, size=12), known).is_sure, "two pages are not enough"
    dearer = [book | {"cents": book["cents"] * 2} if book["id"] % 2 else book for book in BOOKS]
    assert not mend(spider(), pages(table, dearer), known).is_sure, "half of the prices differ"


@pytest.mark.parametrize(("html", "reason"), [
    ("<html><body><div id='root'></div><script src='/app.js'></script></body></html>", "none of the values of the 24 known items"),
    ("<html><body><form><input name='user'><input type='password'></form></body></html>", "it is a login page"),
    ("", "none of the values of the 24 known items"),
    (table([book | {"id": book["id"] + 5000} for book in BOOKS]), "no stored url is on the pages, so the site has changed its URLs; choose another `key`, or"),
    ("<html><body><aside>You may like: <a href='/books/3.html'>The complete cheese cookbook</a></aside></body></html>", "with their keys"),
], ids=["javascript", "login", "empty", "other URLs", "one recommendation"])
def test_the_reason_is_said_if_nothing_is_proposed(html: str, reason: str) -> None:
    known = rows(spider(), pages(original, BOOKS))

    found = mend(spider(), [document(html)], known)

    assert found.is_needed
    assert not found.changes
    assert reason in found.reason
    assert found.tried


def test_a_list_of_hundreds_of_items_is_mended_within_the_time_limit() -> None:
    many = [{"id": number, "title": f"The complete {WORDS[number % 24]} cookbook, volume {number}", "cents": 1000 + number * 7, "stock": number % 7}
            for number in range(400)]
    known = rows(spider(), [document(original(many))])
    found = mend(spider(), [document(table(many))], known)
    assert found.changes["items"]["each"] == "tr", found.reason


def test_no_item_is_stored_yet() -> None:
    assert "no item is stored yet" in mend(spider(), pages(table, BOOKS), []).reason


def test_a_damaged_page_never_raises_and_every_proposal_is_valid() -> None:
    known = rows(spider(), pages(original, BOOKS))
    dice = random.Random(7)
    pieces = ["<", ">", "</div>", "<div class='product'>", "<table><tr>", "'", "<!--", "\0", "&#0;", "<script>", "<svg>", "</a>", "é" * 5,
              "<template>", "{", "<li>", " class='[]:x'", " id='1 2'", "<x:y a:b=c>"]
    for _ in range(10):
        html = dice.choice(REDESIGNS)(BOOKS[:10])
        for _ in range(dice.randint(1, 12)):
            at, length = dice.randrange(len(html)), dice.choice((0, 3, 30, 300))
            html = html[:at] + dice.choice(pieces) + html[at + length:]
        found = mend(spider(), [document(html)], known)
        applied(spider(), found)


def test_a_page_that_is_nested_very_deeply_ends_in_time() -> None:
    known = rows(spider(), pages(original, BOOKS))
    html = "<div class='a'>" * 20_000 + table(BOOKS) + "<p>The complete apple cookbook</p>" * 5000
    found = mend(spider(), [document(html)], known)
    assert found.is_needed


def with_links(html: str, number: int, *, next_link: str, file_link: str = "") -> str:
    return html.replace("<footer>", f"<div><a href='/list/{number - 1}'>back</a> {next_link.format(number + 1)}</div>{file_link}<footer>")


def test_links_to_follow_and_to_download_are_found_by_the_urls_that_were_fetched_before() -> None:
    table_ = spider().model_copy(update={"follow": (SelectorTable(css="li.next a"),), "download": (SelectorTable(css="a.pdf"),)})
    known = rows(spider(), pages(original, BOOKS))
    after = [document(with_links(table(BOOKS[at:at + 8]), number, next_link="<span class='pager-next'><a href='/list/{}'>»</a></span>",
                                 file_link=f"<a class='catalogue' href='/files/{number}.pdf'>PDF</a>"), number)
             for number, at in ((1, 0), (2, 8), (3, 16))]
    fetched = [f"https://shop.example/list/{number}" for number in range(1, 6)]
    files = [f"https://shop.example/files/{number}.pdf" for number in range(1, 4)]

    found = mend(table_, after, known, links={"follow": fetched, "download": files})

    assert found.changes["items"]["each"] == "tr"
    assert found.changes["download"] == [".catalogue"]
    new = LinkRules([SelectorTable(css=found.changes["follow"][0])])
    assert "https://shop.example/list/4" in new.links(after[2])


def test_only_the_link_to_the_next_page_is_mended_while_the_items_work() -> None:
    table_ = spider().model_copy(update={"follow": (SelectorTable(css="li.next a"),)})
    known = rows(spider(), pages(original, BOOKS))
    after = [document(with_links(original(BOOKS[at:at + 8]), number, next_link="<a rel='next' href='/list/{}'>more</a>"), number)
             for number, at in ((1, 0), (2, 8), (3, 16))]

    found = mend(table_, after, known, links={"follow": ["https://shop.example/list/2", "https://shop.example/list/3"]})

    assert found.is_needed
    assert list(found.changes) == ["follow"]
    assert "https://shop.example/list/3" in LinkRules([SelectorTable(css=found.changes["follow"][0])]).links(after[1])


def test_a_note_says_that_further_pages_are_lost_unless_the_rule_never_led_to_one() -> None:
    table_ = spider().model_copy(update={"follow": (SelectorTable(css="li.next a"),)})
    known = rows(spider(), pages(original, BOOKS))

    found = mend(table_, pages(table, BOOKS), known, links={"follow": ["https://shop.example/list", "https://shop.example/list?page=2"]})
    assert found.notes == ("`follow` 'li.next a' finds no link any more, and no rule was found in its place: the items of further pages will be missing",)
    assert not found.is_sure
    assert found.why_not_sure == found.notes[0]
    assert not mend(table_, pages(table, BOOKS), known, links={"follow": ["https://shop.example/list"]}).notes


def test_details_pages_and_start_urls_are_no_pages_to_follow() -> None:
    details = {"link": "h3 a", "fields": {"pages": ".pages"}}
    table_ = spider(details=details).model_copy(update={"follow": (SelectorTable(css="li.next a"),)})
    known = rows(spider(), pages(original, BOOKS))
    items = [f"https://shop.example/books/{book['id']}.html" for book in BOOKS]
    after = [document(with_links(original(BOOKS[at:at + 8]), number, next_link="<a class='on' href='/list/{}'>Next</a>"), number)
             for number, at in ((1, 0), (2, 8))]
    lists = [f"https://shop.example/list/{number}" for number in range(1, 4)]

    assert mend(table_, after, known, links={"follow": [*lists, *items]}).changes == {"follow": [".on"]}
    assert not mend(table_, pages(original, BOOKS), known, links={"follow": ["https://shop.example/list", *items]}).changes
    shrunk = mend(table_, [document(original(BOOKS))], known, links={"follow": [*lists, *items]})
    assert not shrunk.changes, "the list has one page only, which links to no other page of the list"


def test_a_proposal_that_changes_links_is_never_sure() -> None:
    table_ = spider().model_copy(update={"follow": (SelectorTable(css="li.next a"),)})
    known = rows(spider(), pages(original, BOOKS))
    after = [document(with_links(table(BOOKS[at:at + 8]), number, next_link="<a class='on' href='/list/{}'>»</a>"), number)
             for number, at in ((1, 0), (2, 8), (3, 16))]

    found = mend(table_, after, known, links={"follow": [f"https://shop.example/list/{number}" for number in range(1, 5)]})

    assert found.changes.keys() == {"items", "follow"}
    assert found.why_not_sure == "a person must check where the links of follow lead"
    assert Mending({"items": {"details": {"link": "a"}}}, "", is_needed=True, pages=3).why_not_sure == "a person must check where the links of details.link lead"


def test_a_proposal_that_loses_items_of_the_pages_is_not_sure() -> None:
    def two_shapes(books: list[Book]) -> str:
        return other_classes(books[:6]).replace("<footer>", "".join(
            f"<p><b>{book['title']}</b> <i>{price(book)}</i></p>" for book in books[6:]) + "<footer>")

    known = rows(spider(), pages(original, BOOKS))
    found = mend(spider(), pages(two_shapes, BOOKS), known)

    assert found.changes
    assert found.why_not_sure == "only 18 of the 24 known items on the pages are found, and 95 % are needed"


def test_each_changed_field_must_agree_on_three_pages() -> None:
    known = rows(spider(), pages(original, BOOKS))
    dearer = [book | {"cents": book["cents"] + 1} if book["id"] % 8 == 0 else book for book in BOOKS]
    found = mend(spider(), pages(other_classes, dearer), known)
    assert found.share > 0.95
    assert found.why_not_sure == "only 87 % of the known values of price agree, and 95 % are needed"
    one_page = [row | {"price": None} if at >= 8 else row for at, row in enumerate(known)]
    after = [document(other_classes(BOOKS[:8]), 1), *[document(re.sub("<p class='amount'>.*?</p>", "", other_classes(BOOKS[at:at + 8])), at) for at in (8, 16)]]
    found = mend(spider(), after, one_page)
    assert found.why_not_sure == "known values of price agree on 1 page only, and 3 are needed"


@pytest.mark.parametrize(("makers", "is_proposed", "is_sure"), [
    (["Acme Limited", "Acme Limited", "Foobar Works"], False, False),
    (["Acme Limited"] * 4, False, False),
    (["Acme Limited", "Foobar Works"], True, False),
    (["Acme Limited", "Foobar Works", "Acme Limited"], True, True),
])
def test_a_field_of_details_pages_needs_several_values(makers: list[str], *, is_proposed: bool, is_sure: bool) -> None:
    table_ = spider(details={"link": "h3 a", "fields": {"maker": ".gone"}})
    assert table_.items is not None
    is_banner = not is_proposed
    after = [(document(f"<h1>Book {at}</h1><p class='maker'>{'Acme Limited' if is_banner else maker}</p>", at), {"maker": maker})
             for at, maker in enumerate(makers)]

    fields, agreement = mend_details(table_.items, after)

    assert fields == ({"maker": ".maker"} if is_proposed else {})
    changes = {"items": {"details": {"fields": fields}}} if fields else {}
    assert Mending(changes, "", is_needed=True, agreement=agreement, pages=3).is_sure is is_sure


def test_user_info_and_secret_parameters_of_pages_are_not_shown() -> None:
    assert fetched({"known": 3, "urls": ["https://user:s3cret@shop.example/a?token=abc123"]}).endswith("https://shop.example/a?token=•••")


def test_a_link_to_the_next_page_that_only_its_text_tells_apart_is_found() -> None:
    table_ = spider().model_copy(update={"follow": (SelectorTable(css="li.next a"),)})
    known = rows(spider(), pages(original, BOOKS))
    after = [document(with_links(original(BOOKS[:8]), 1, next_link="<a href='/list/{}'>Older →</a>"))]

    assert mend(table_, after, known).changes == {"follow": ["//a[normalize-space()='Older →']"]}


def test_the_link_to_the_details_page_is_found_in_the_new_items() -> None:
    details = {"link": "h3 a", "fields": {"pages": {"css": ".pages", "type": "number"}}}
    fields = {"title": "h3 a::attr(title)", "price": {"css": ".price", "type": "price"}}
    table_ = spider(fields=fields, details=details, key=["title"])
    known = [{"title": row["title"], "price": row["price"], "pages": 300} for row in rows(spider(), pages(original, BOOKS))]

    found = mend(table_, pages(table, BOOKS), known, links={"follow": [f"https://shop.example/books/{book['id']}.html" for book in BOOKS]})

    assert found.changes["items"]["details"] == {"link": "a"}


def test_a_page_that_is_one_item_is_mended_from_its_title() -> None:
    table_ = SpiderTable.model_validate({"start": ["https://shop.example/"], "items": {"key": ["url"], "fields": {
        "url": {"page": "url"}, "title": "h1.name", "price": {"css": ".price", "type": "price"}, "isbn": {"css": "#isbn", "regex": "ISBN (.+)"}}}})

    def page(book: Book, number: int) -> Document:
        return document(page_of(f"<section><header><h2>{book['title']}</h2></header><dl><dt>Price</dt><dd class='cost'>{price(book)}</dd>"
                                f"<dt>ISBN</dt><dd>ISBN 978-{book['id']}-11</dd></dl></section><aside><h2>Also bought</h2><h3>Gardening for cats</h3></aside>"), number)

    known = [{"url": f"https://shop.example/list/{book['id']}", "title": book["title"], "isbn": f"978-{book['id']}-11",
              "price": {"amount": book["cents"] / 100, "currency": "GBP", "text": price(book)}} for book in BOOKS]
    after = [page(book, book["id"]) for book in BOOKS[:4]]

    found = mend(table_, after, known)

    assert found.changes, (found.reason, found.tried)
    got = rows(applied(table_, found), after)
    assert [(row["title"], row["price"]["amount"], row["isbn"]) for row in got] == [
        (row["title"], row["price"]["amount"], row["isbn"]) for row in known[:4]]


def json_rows(books: list[Book]) -> list[dict[str, Any]]:
    return [{"meta": {"sku": f"x{book['id']}"}, "name": book["title"], "link": f"/books/{book['id']}.html",
             "offer": {"price": book["cents"] / 100, "priceCurrency": "GBP"}, "inStock": book["stock"]} for book in books]


def json_script(books: list[Book]) -> str:
    data = {"props": {"list": {"groups": [{"hits": json_rows(books[:4])}, {"hits": json_rows(books[4:])}]}}}
    return f"<html><body><div id='app'></div><script>window.STATE = {json.dumps(data)};</script></body></html>"


def json_ld(books: list[Book]) -> str:
    items = [{"@type": "ListItem", "item": {"@type": "Product", "name": book["title"], "url": f"/books/{book['id']}.html",
                                            "offers": {"price": f"{book['cents'] / 100}", "priceCurrency": "GBP"},
                                            "stock": str(book["stock"])}} for book in books]
    return "<html><body><script type='application/ld+json'>" + json.dumps(
        {"@graph": [{"@type": "Organization", "name": "Shop"}, {"@type": "ItemList", "itemListElement": items}]}) + "</script></body></html>"


def json_page(books: list[Book]) -> str:
    return json.dumps({"total": 900, "results": json_rows(books)})


@pytest.mark.parametrize("design", [json_script, json_ld, json_page], ids=lambda design: design.__name__)
def test_a_list_that_has_moved_to_json_is_read_from_there_and_back(design: Callable[[list[Book]], str]) -> None:
    known = rows(spider(), pages(original, BOOKS))
    new = {"id": 900, "title": "A book that is not stored yet", "cents": 4242, "stock": 3}
    after = pages(design, [*BOOKS, new])

    found = mend(spider(), after, known)

    assert found.changes, (found.reason, found.tried)
    mended = applied(spider(), found)
    assert plain(rows(mended, after)) == plain(rows(spider(), pages(original, [*BOOKS, new])))

    back = mend(mended, pages(table, BOOKS), known)
    assert back.changes, (back.reason, back.tried)
    assert plain(rows(applied(mended, back), pages(table, BOOKS))) == plain(known)


def test_renamed_keys_of_json_are_found() -> None:
    def renamed(books: list[Book]) -> str:
        return json_page(books).replace('"results"', '"items"').replace('"name"', '"title text"').replace('"offer"', '"cost"')

    known = rows(spider(), pages(original, BOOKS))
    mended = applied(spider(), mend(spider(), pages(json_page, BOOKS), known))
    found = mend(mended, pages(renamed, BOOKS), known)
    assert found.changes["items"]["each"] == {"jmes": "items[]"}
    assert found.changes["items"]["fields"].keys() == {"title", "price"}
    assert plain(rows(applied(mended, found), pages(renamed, BOOKS))) == plain(known)


TERMS = [f"{number}. The member pays the fee of part {number} before the {number}th day." for number in range(1, 13)]


@pytest.mark.parametrize(("html", "css"), [
    ("<header>Club</header><main><article class='terms-text'><h2>Terms</h2>{terms}</article></main><footer>News of today: rain</footer>", ".terms-text"),
    ("<nav>Club</nav><div><div id='legal'><ul>{terms}</ul></div><div class='ads'>Buy shoes now, only today</div></div>", "#legal"),
], ids=["class", "id"])
def test_a_watched_part_is_found_by_its_stored_text(html: str, css: str) -> None:
    table_ = SpiderTable.model_validate({"spider": "watch", "start": ["https://shop.example/list/1"], "watch": {"part": "#content .terms"}})
    known = [{"url": "https://shop.example/list/1", "name": "Terms", "text": "\n".join(TERMS)}]
    changed = [*TERMS[:3], "4. The member may leave at any time and gets the rest of the fee.", *TERMS[4:]]
    page = document("<html><body>" + html.format(terms="".join(f"<p>{term}</p>" for term in changed)) + "</body></html>")

    found = mend(table_, [page], known)

    assert found.changes == {"watch": {"part": css}}
    assert not mend(applied(table_, found), [page], known).is_needed
    other = mend(table_, [document("<html><body><p>Our club has moved to another site.</p></body></html>")], known)
    assert other.is_needed
    assert "not in one part of the pages" in other.reason
