"""Tests of reading numbers as people write them."""

from __future__ import annotations

import pytest

from pipeline.numbers import NumberError, number


@pytest.mark.parametrize(("text", "expected"), [
    # A comma or point before dashes is the decimal mark.
    ("1.299,--€", 1299), ("1.299,- €", 1299), ("€ 1.299,–", 1299), ("1.299,=", 1299), ("12.499,-", 12499),
    ("1.299.000,-", 1299000), ("€ 5,-", 5), ("CHF 1'299.–", 1299), ("499:-", 499), ("1 299:-", 1299), ("10,-15", 10),
    # Both marks, or one that repeats.
    ("1.299,00 €", 1299), ("1,234.5", 1234.5), ("1.234,5", 1234.5), ("1,23,456.78", 123456.78), ("12,34,567", 1234567),
    ("1.299.-", 1299), ("1,299,-", 1299), ("12.50.-", 12.5),
    # Marks that part no groups: versions, dates, addresses and lists.
    ("1.2.3", None), ("v1.2.34", None), ("1,2,3", None), ("192.168.1.1", None), ("1.2.2024", None), ("1.2.34,5", None), ("1,234,56", None),
    # Fractions of one character, raised decimals beside a currency, powers of ten, and what no float holds.
    ("½", 0.5), ("5½", 5.5), ("9 ¾ in", 9.75), ("$12⁹⁹", 12.99), ("1.299⁹⁹ €", 1299.99), ("12⁹⁹", 12), ("10² m", 10), ("6,022e23", 6.022e23), ("1e999", None),
    # One mark before three digits: thousands after a comma, unless nothing can be grouped there.
    ("£1,234", 1234), ("1.299 €", 1.299), ("0,250 €", 0.25), ("0,999", 0.999), ("-0,500", -0.5), ("1234,567", 1234.567),
    ("1 234,567", 1234.567), (".50", 0.5), ("$.50", 0.5), ("£1·50", 1.5), ("Rs.500", 500), ("No.5", 5),
    # Blanks and apostrophes of all kinds group, before exactly three digits.
    ("2\u2009499,00 €", 2499), ("3\u00a0499,00 €", 3499), ("1\u202f299,--", 1299), ("4\u2007499", 4499), ("5\u3000499", 5499),
    ("1 234 567,89", 1234567.89), ("12 345", 12345), ("1234 567", 1234), ("1 23", 1), ("0 250", 0), ("1\n234", 1),
    ("Pack of 3 12,99", 3), ("Size 42 39,95 €", 42), ("1’299.50", 1299.5), ("1‘299", 1299), ("1´299", 1299), ("1ʼ299", 1299),
    ("1`299", 1299), ("1′299", 1299), ("1'000'000", 1000000), ("1\u200b2", 12),
    # Signs, scripts and widths.
    ("−7", -7), ("－7", -7), ("–7", -7), ("‑7", -7), ("-$5", -5), ("−€ 5", -5), ("- 5,00 €", -5), ("-EUR 5", -5), ("€-5", -5),
    ("SKU-12", 12), ("5-pack", 5), ("+5", 5), ("(5)", 5), ("￥1，299", 1299), ("１，２３４．５", 1234.5), ("٣", 3), ("١٬٢٣٤٫٥٠", 1234.5),
    ("٠٫٢٥٠", 0.25), ("۱۲۳", 123), ("१,२३,४५६.५", 123456.5),
    # Of several the first.
    ("10–12 €", 10), ("1.200,00-1.500,00", 1200), ("3,99/4,99", 3.99), ("2024-05-01", 2024),
    # What only looks like an abbreviation.
    ("12.5 m", 12.5), ("512 K", 512), ("12MB", 12), ("12kg", 12), ("300 Kč", 300), ("12 kr", 12), ("5 Meter", 5), ("38 M", 38),
    ("1e3", 1000), ("12.", 12), ("-", None), ("none", None), ("9" * 5000, None)])
def test_a_number_is_read_as_people_write_it(text: str, expected: float | None) -> None:
    assert number(text) == expected


@pytest.mark.parametrize(("text", "decimal", "expected"), [
    ("1.234", ",", 1234), ("1,234", ".", 1234), ("1,234", ",", 1.234), ("1 234,567", ".", 1234567)])
def test_the_decimal_mark_can_be_given(text: str, decimal: str, expected: float) -> None:
    assert number(text, decimal) == expected


@pytest.mark.parametrize("text", ["1.2M", "3k", "3K", "12 k", "1.5 Mio", "1,5 Mio. €", "£1.5m", "1.2B", "5bn", "1.2万", "3 тыс.",
                                  "2 lakh", "₹1.2 Cr", "1,5 M de vues", "3 Mrd", "4,2 mln"])
def test_an_abbreviated_number_is_rejected(text: str) -> None:
    with pytest.raises(NumberError, match="abbreviated"):
        number(text)
