"""Prices: amount and currency as the site means them, compared by what they come to.

They are told as the site writes them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.crawl.extract import CompiledRule, Document, RuleFailedError
from pipeline.crawl.extract.prices import read_price
from pipeline.display.field_text import field_text
from pipeline.mail.filters import passes
from pipeline.model import Change, ChangeKind
from pipeline.numbers import NumberError
from pipeline.price import price, same
from pipeline.settings import GroupTable, ItemsTable, SelectorTable
from tests.crawl.conftest import Crawls
from tests.servers.pages import PageSite

SUITE = json.loads(Path(__file__).parents[2].joinpath("data", "prices.json").read_text("utf-8"))


def page(text: str = "", url: str = "http://site.example/") -> Document:
    return Document(url=url, status=200, text=text, headers=dict)


def read(text: str, document: Document | None = None, **more: Any) -> tuple[Any, Any] | None:
    found = read_price(text, document or page(), **more)
    return found and (found["amount"], found["currency"])


def test_at_least_as_many_of_price_parsers_cases_are_right_as_with_price_parser() -> None:
    right = 0
    for text, amount, decimal in SUITE["cases"]:
        found = read(text or "", decimal=decimal if decimal in (".", ",") else None)
        right += (found and found[0]) == (None if amount is None else float(amount))
    assert (right, len(SUITE["cases"])) == (1059, 1066)


@pytest.mark.parametrize(("text", "amount", "currency"), [
    ("1.299,--€", 1299, "EUR"), ("1.299,- €", 1299, "EUR"), ("€ 1.299,–", 1299, "EUR"), ("1.299 €", 1299, "EUR"),
    ("1.299,00 €", 1299, "EUR"), ("2\u2009499,00 €", 2499, "EUR"), ("0,250 €", 0.25, "EUR"), ("35€99", 35.99, "EUR"),
    ("Size 42 39,95 €", 39.95, "EUR"), ("Size 42: 39,95 €", 39.95, "EUR"), ("10–12 €", 10, "EUR"), ("from 26 to 50 €", 26, "EUR"), ("3 for $5", 5, "USD"),
    ("now 39,95 EUR instead of 49,95 EUR", 39.95, "EUR"), ("-20% 39,95 €", 39.95, "EUR"), ("4K TV 399 €", 399, "EUR"),
    ("-5,00 €", -5, "EUR"), ("−$5", -5, "USD"), ("￥1，299", 1299, "JPY"), ("1,299円", 1299, "JPY"), ("1299元", 1299, "CNY"),
    ("CHF 1'299.–", 1299, "CHF"), ("Fr. 12.50", 12.5, "CHF"), ("12.499,-", 12499, None), ("A$5", 5, "AUD"),
    ("$12 CAD", 12, "CAD"), ("12.50EUR", 12.5, "EUR"), ("£9.99", 9.99, "GBP"), ("49 zł", 49, "PLN"), ("12 990 Ft", 12990, "HUF"),
    ("499 Kč", 499, "CZK"), ("Rp 31.500", 31500, "IDR"), ("12.500 ₫", 12500, "VND"), ("KD 3.750", 3.75, "KWD"),
    ("R$ 1.299,90", 1299.9, "BRL"), ("₹1,23,456.78", 123456.78, "INR"), ("1 234,50 руб.", 1234.5, "RUB"), ("Free", 0, None),
    ("1 299:-", 1299, "SEK"), ("12:50 kr", 12.5, "kr"), ("499 kr", 499, "kr"), ("Rs. 500", 500, "Rs"), ("12.99", 12.99, None), ("12,50 Euro", 12.5, "EUR"), ("5½ €", 5.5, "EUR"), ("½ €", 0.5, "EUR"), ("4 dollars", 4, "USD")])
def test_a_price_is_what_a_currency_stands_at(text: str, amount: float, currency: str | None) -> None:
    assert read(text) == (amount, currency)


@pytest.mark.parametrize(("text", "html", "url", "currency"), [
    ("499 kr", '<html lang="sv">', "http://x.example/", "SEK"), ("499 kr", '<html lang="nb-NO">', "http://x.example/", "NOK"),
    ("499 kr", "", "http://shop.dk/", "DKK"), ("$5", "<html class=a lang=en-CA>", "http://x.example/", "CAD"),
    ("$5", "", "http://x.com.au/", "AUD"), ("$5", "", "http://x.example/", "USD"), ("¥5", '<html lang="zh-CN">', "http://x/", "CNY"),
    ("$5", '<script>{"priceCurrency": "MXN"}</script>', "http://x/", "MXN"), ("5", '<meta itemprop="priceCurrency" content="PLN">', "http://x/", "PLN"),
    ("5 €", '<script>{"priceCurrency": "PLN"}</script>', "http://x/", "EUR"),
    ("5", '<meta property="product:price:currency" content="CHF">', "http://x/", "CHF")])
def test_a_sign_of_several_currencies_is_what_the_page_means_by_it(text: str, html: str, url: str, currency: str) -> None:
    found = read(text, page(html, url))
    assert found is not None
    assert found[1] == currency


def test_the_currency_may_be_said_for_signs_that_leave_it_open() -> None:
    assert [read(text, currency="NOK") for text in ("5 kr", "5", "5 €")] == [(5, "NOK"), (5, "NOK"), (5, "EUR")]
    with pytest.raises(ValidationError, match="can be used only with type"):
        SelectorTable(css="p", currency="EUR")
    with pytest.raises(ValidationError, match="price and cannot be part of `key`"):
        ItemsTable.model_validate({"key": ["p"], "fields": {"p": {"css": "b", "type": "price"}}})


@pytest.mark.parametrize("text", ["$1.2M", "£1.5m", "1.2M €", "3k €"])
def test_an_abbreviated_price_is_refused(text: str) -> None:
    with pytest.raises(NumberError, match="abbreviated"):
        read(text)


@pytest.mark.parametrize(("text", "amount", "currency"), [
    ("99¢", 0.99, "USD"), ("99 ¢ each", 0.99, "USD"), ("0.5¢", 0.005, "USD"), ("99 cents", 0.99, "USD"), ("50p", 0.5, "GBP"), ("-50p", -0.5, "GBP"),
    ("only 50p.", 0.5, "GBP"), ("150p", 1.5, "GBP"), ("1,234.5p", 12.345, "GBP"), ("75 pence", 0.75, "GBP"), ("50-99¢", 0.5, "USD"),
    ("90 коп.", 0.9, "RUB"), ("75 paise", 0.75, "INR"), ("99 Rappen", 0.99, "CHF"), ("99 Cent", 0.99, "Cent"), ("99 ct", 0.99, "ct"), ("99c", 0.99, "c"),
    ("50 øre", 0.5, "øre"), ("£1 50p", 1.5, "GBP"), ("£1 and 50 pence", 1.5, "GBP"), ("1 Euro 50 Cent", 1.5, "EUR"), ("1 € 50 ct", 1.5, "EUR"),
    ("5 руб. 90 коп.", 5.9, "RUB"), ("5 рублей 90 копеек", 5.9, "RUB"), ("12 zł 99 gr", 12.99, "PLN"), ("9 lei 99 bani", 9.99, "RON"),
    ("12 Franken 50 Rappen", 12.5, "CHF"), ("3元5角2分", 3.52, "CNY"), ("5 kr 50 øre", 5.5, "kr"), ("$1 and 50 cents", 1.5, "USD"), ("GH¢ 50", 50, "GHS"),
    ("$5 20 ct", 5, "USD"), ("1080p TV £299", 299, "GBP"), ("500 gr", 500, None), ("320 p", 320, None), ("Save 10¢! $4.99", 4.99, "USD")])
def test_hundredths_are_a_price_where_their_sign_is_behind_the_number(text: str, amount: float, currency: str | None) -> None:
    assert read(text) == (amount, currency)


@pytest.mark.parametrize(("text", "html", "url", "expected"), [
    ("99¢", '<html lang="en-CA">', "http://x.example/", (0.99, "CAD")), ("99c", "", "http://x.com.au/", (0.99, "AUD")),
    ("99 Cent", "<html lang=de>", "http://x.example/", (0.99, "EUR")), ("99 cents", "", "http://x.ie/", (0.99, "EUR")),
    ("50 öre", "<html lang=sv>", "http://x.example/", (0.5, "SEK")), ("99 centavos", "", "http://x.com.br/", (0.99, "BRL")),
    ("500p", "<html lang=ru>", "http://x.example/", (500, "RUB")), ("¢5.000", "<html lang=es-CR>", "http://x.example/", (5000, "CRC"))])
def test_the_currency_of_hundredths_is_the_pages(text: str, html: str, url: str, expected: tuple[float, str]) -> None:
    assert read(text, page(html, url)) == expected


def test_a_cent_sign_before_its_number_is_refused_until_the_currency_is_said() -> None:
    with pytest.raises(RuleFailedError, match="'¢99' may mean cents or colones; set `currency`"):
        read("¢99")
    assert [read("¢99", currency=code) for code in ("USD", "CRC")] == [(0.99, "USD"), (99, "CRC")]
    assert read("1080p") is None


@pytest.mark.parametrize(("text", "amount"), [
    ("50p (£1.00/kg)", 0.5), ("2,99 € (29,90 €/kg)", 2.99), ("29,90 €/kg 2,99 €", 2.99), ("£1.20 24p/100g", 1.2), ("$0.99/lb", 0.99), ("99¢/lb", 0.99)])
def test_a_price_for_a_measure_is_meant_where_there_is_no_other(text: str, amount: float) -> None:
    found = read(text)
    assert found is not None
    assert found[0] == amount


@pytest.mark.parametrize(("rule", "html", "expected"), [
    ({"css": "b"}, "<b>Now 1.299,-- €!</b>", {"amount": 1299, "currency": "EUR", "text": "1.299,-- €"}),
    ({"css": "meta::attr(content)"}, "<meta itemprop=price content='1299.000'>", {"amount": 1299, "currency": None, "text": "1299.000"}),
    ({"data": "json-ld", "jmes": "[0].offers"}, '<script type="application/ld+json">{"offers": {"price": "49.90", "priceCurrency": "CHF"}}</script>',
     {"amount": 49.9, "currency": "CHF", "text": "49.90 CHF"}),
    ({"data": "json-ld", "jmes": "[0].price"}, '<script type="application/ld+json">{"price": 49.9, "priceCurrency": "CHF"}</script>',
     {"amount": 49.9, "currency": "CHF", "text": "49.9"})])
def test_a_rule_gives_amount_currency_and_text(rule: dict[str, Any], html: str, expected: dict[str, Any]) -> None:
    assert CompiledRule(SelectorTable(**rule, type="price")).values(page(html)) == [expected]


@pytest.mark.parametrize(("html", "kind", "expected"), [
    ("<b>$12<sup>99</sup></b>", "price", 12.99), ("<b>12<sup>99</sup> €</b>", "price", 12.99), ("<b>12<sup>€99</sup></b>", "price", 12.99),
    ("<b>1.299<sup> 99 </sup> €</b>", "price", 1299.99), ("<b>12 €<sup>50</sup></b>", "price", 12.5), ("<b>$<span>12</span><sup>99</sup></b>", "price", 12.99),
    ("<b>12<sup>.99</sup> €</b>", "price", 12.99), ("<b>$12<sup>1</sup></b>", "price", 12), ("<b>$12.99<sup>2</sup></b>", "price", 12.99),
    ("<b>$12<sup>99</sup></b>", "number", 12.99), ("<b>1,234<sup>12</sup> people</b>", "number", 1234), ("<b>25 m<sup>2</sup></b>", "number", 25)])
def test_raised_digits_are_decimals_of_a_price_and_never_more_digits_of_it(html: str, kind: str, expected: float) -> None:
    found = CompiledRule(SelectorTable.model_validate({"css": "b", "type": kind})).values(page(html))[0]
    assert (found["amount"] if kind == "price" else found) == expected


@pytest.mark.parametrize(("text", "currency"), [
    ("COP$ 12.000", "COP"), ("CLP$1.299", "CLP"), ("MXN$ 12", "MXN"), ("CAD $12", "CAD"), ("AU $12", "AUD"), ("US $1,234.00", "USD"), ("TT$ 12", "TTD"),
    ("EC$12", "XCD"), ("Mex$ 12", "MXN"), ("12 $ CA", "CAD"), ("12,34 US-$", "USD"), ("12 US-Dollar", "USD"), ("E£ 500", "EGP"), ("KSh 1,299", "KES"),
    ("1,299 บาท", "THB"), ("99.000 VNĐ", "VND"), ("12 DH", "DH"), ("R 12.50", "R"), ("GRADE $12", "USD")])
def test_letters_at_a_sign_say_whose_it_is(text: str, currency: str) -> None:
    found = read(text)
    assert found is not None
    assert found[1] == currency


def test_a_text_without_a_price_fails_its_rule() -> None:
    with pytest.raises(RuleFailedError, match="'sold out' is not a price"):
        CompiledRule(SelectorTable(css="b", type="price")).values(page("<b>sold out</b>"))


def test_prices_are_compared_by_amount_and_currency_wherever_they_are() -> None:
    assert same({"offers": [price(5, "EUR", "5 €")]}, {"offers": [price(5, "EUR", "€ 5,00")]})
    assert same(price(5, None, "5"), price(5, "EUR", "5 €"))
    assert not same(price(5, "EUR", "5 €"), price(5, "USD", "$5"))
    assert field_text([price(5, "EUR", "5 €"), price(6, "EUR", "6 €")]) == "5 €, 6 €"


def test_conditions_compare_the_amount() -> None:
    change = Change(1, "s", "k", ChangeKind.CHANGED, None, 1, {"p": price(6, "EUR", "6,--")}, {"p": price(5, "EUR", "5,--")})  # type: ignore[arg-type]
    for where, expected in (("p < 5.5", True), ("p = 5", True), ("p < before", True), ("p > 5", False), ("p ~ 5,--", True)):
        assert passes(change, GroupTable(to=("a@b.c",), where=(where,))) is expected


def test_a_price_written_anew_is_no_change_and_one_that_moved_enough_is(crawls: Crawls, site: PageSite) -> None:
    crawls.write(f"""
        [spiders.s]
        start = "{site.url}/"
        [spiders.s.items]
        each = "li"
        key = ["id"]
        min_change = {{ price = "5%" }}
        fields = {{ id = "::attr(id)", price = {{ css = "b", type = "price" }} }}
    """)
    told = []
    for text in ("1.299,-- €", "€ 1.299,00", "1.300 €", "$1,300", "1.400 $"):
        site.pages = {"/": f"<li id=a><b>{text}</b></li>"}
        run = crawls.run()
        told.append((run.progress.new, run.progress.changed, run.progress.unchanged))
    assert told == [(1, 0, 0), (0, 0, 1), (0, 0, 1), (0, 1, 0), (0, 1, 0)]
    assert crawls.items()["a"]["price"] == {"amount": 1400, "currency": "USD", "text": "1.400 $"}
