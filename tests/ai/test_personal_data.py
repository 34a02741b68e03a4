"""Tests that personal data in many national spellings are hidden, and that other numbers stay."""

from __future__ import annotations

import time

import pytest

from pipeline.ai.personal_data import HIDDEN, PersonalDataMask

MASK = PersonalDataMask(("email", "phone", "iban", "card"))

HIDDEN_TEXTS = [
    # e-mail addresses
    "jane.doe@example.com", "jane+news@mail.example.co.uk", "jürgen@müller.example", "иван@пример.рф", "张伟@例子.中国", "jane (at) example (dot) com",
    "jane [at] example.org", "jane [AT] example [DOT] org", "jane＠example.com", "o'neil@example.ie", "root@localhost",
    "jane&#64;example.com", "jane&#x40;example&#46;com", "jane&commat;example.com", "jane%40example.com", "jane﹫example.com", "jane <at> example.com", "jane (-at-) example.com",
    "jane at example dot com", "jane AT mail DOT example DOT org", "jane @ example.com", "jane @example.com", "jane@ example.com", '"jane doe"@example.com',
    # phone numbers with the number of the country
    "+49 30 123456", "+49 (0)30 123456-78", "+49-171-1234567", "0049 171 1234567", "+1 212 555 0123", "+1-212-555-0123", "+1 (212) 555-0123", "+44 20 7946 0958",
    "+44 (0)20 7946 0958", "+33 1 23 45 67 89", "+33123456789", "+86 138 1234 5678", "+8613812345678", "+81 3-1234-5678", "+7 (495) 123-45-67", "+39 06 1234 5678",
    "+34 612 345 678", "+55 11 91234-5678", "+91 98765 43210", "+61 2 1234 5678", "+46 8 123 456 78", "+420 601 234 567", "+48 601 234 567", "+90 532 123 45 67",
    "＋81 90-1234-5678", "+852 2345 6789", "00 44 20 7946 0958",
    # in the characters of other keyboards and of typesetters
    "030\u3000123456", "０３０－１２３４５６７", "+49\u200730\u2007123456", "030−123456", "212‒555‒0123", "212—555—0123", "（030）123456", "138\u00a01234\u00a05678", "138·1234·5678",
    "4111—1111—1111—1111", "4111\u30001111\u30001111\u30001111", "DE89\u20033704\u20030044\u20030532\u20030130\u200300", "DE89–3704–0044–0532–0130–00",
    # national numbers
    "030 123456", "030/123456", "(030)123456", "(030) 12 34 56-78", "0171 1234567", "01711234567", "0171-1234567", "01 23 45 67 89", "01.23.45.67.89", "0123456789",
    "020 7946 0958", "(020) 7946 0958", "07700 900123", "044 668 18 00", "06 1234 5678", "03-1234-5678", "090-1234-5678", "010-12345678", "0412 345 678",
    "(212) 555-0123", "212-555-0123", "212.555.0123", "1-800-555-0199", "13812345678", "138 1234 5678", "138-1234-5678", "8 (495) 123-45-67", "8 495 123-45-67",
    "(11) 91234-5678", "98765 43210", "612 34 56 78", "20 12 34 56", "601-234-567",
    # with a slash or dash between spaces
    "030 / 123456", "(030) / 12 34 56", "040 / 1234 - 56", "0171 – 1234567", "+49 (0) 30 / 12 34 56 - 0", "Tel.: 030 / 12345", "Tel. (030) / 12345", "212 - 555 - 0123",
    # after a word for them
    "Tel. 12 34 56", "Tel: 2345 6789", "phone 555-0123", "Telefon: 123456", "电话：8888 9999", "手机:13812345678", "тел. 123-45-67", "Fax 12345", "☎ 555 0123", "Hotline 11 22 33",
    # accounts
    "DE89 3704 0044 0532 0130 00", "DE89370400440532013000", "de89 3704 0044 0532 0130 00", "GB29 NWBK 6016 1331 9268 19", "FR14 2004 1010 0505 0001 3M02 606",
    "NL91ABNA0417164300", "CH93-0076-2011-6238-5295-7", "NO93 8601 1117 947", "MT84 MALT 0110 0001 2345 MTLC AST0 01S", "SA03 8000 0000 6080 1016 7519",
    # cards
    "4111 1111 1111 1111", "4111111111111111", "4111-1111-1111-1111", "5555 5555 5555 4444", "2223 0031 2200 3222", "3782 822463 10005", "378282246310005",
    "6011 1111 1111 1117", "3530 1113 3330 0000", "3056 930902 5904", "6240008631401148", "6759 6498 2643 8453",
]
KEPT = [
    # money, dates, times, versions, sizes, codes
    "1,234,567.89 €", "€ 12.99", "1 234 567 kr", "12 500 000", "2026-11-30", "30.11.2026", "30/11/2026 08:15", "01.02.2026 10:30", "2026-11-30 10:15:20", "10:30-12:45", "3.11.7",
    "12 of 345", "0.5", "0,75 %", "+5 %", "+12 345", "1920x1080", "4 GB", "§ 12 Abs. 3", "ISO 9001:2015", "RFC 9110", "2025/26", "1990-2026", "100-200",
    "192.168.100.200", "3-5 days", "42", "12345", "20,000 pages", "v10.2.33", "Room 101", "1 000 000", "B0C1D2E3F4", "#12345678", "16:9",
    # not accounts and not cards: a check digit or a length is wrong
    "DE00 0000 0000 0000 0000 00", "XX12 3456 7890 1234", "4111 1111 1111 1112", "1234 5678 9012 3456", "ISBN 978-3-16-148410-0",
    "9783161484100", "4006381333931",
    # no addresses
    "@everyone", "at example", "5 @ 3 €", "5 @ 3.50 €", "2 @ home", "meet at noon", "100 %400",
    # what has such characters and no personal data stays as it is
    "2024–2026", "€ 5 – € 7", "01 / 02 / 2026", "1990 - 2026", "+5 - 10 %", "09 - 12 / 14 - 18", "12 / 2026", "（1）", "10·20",
]


@pytest.mark.parametrize("text", HIDDEN_TEXTS)
def test_personal_data_are_hidden(text: str) -> None:
    for around in ("{}", "Ask {} today", "({})", "New: {}, and more", "联系{}谢谢" if text[0] not in "TtPpFfHh" else "{}", "a\n{}\nb"):
        shown = MASK(around.format(text))
        digits = [each for each in text if each.isdigit()]
        assert HIDDEN in shown, around
        assert sum(map(str.isdigit, shown)) == 0 or not digits, shown
        assert "@" not in shown or "example" not in shown, shown


@pytest.mark.parametrize("text", KEPT)
def test_other_numbers_stay(text: str) -> None:
    for around in ("{}", "It is {} now", "({})"):
        assert MASK(around.format(text)) == around.format(text)


def test_each_kind_can_be_left_out_and_own_patterns_be_added() -> None:
    text = "jane@example.com, +49 30 123456, Aktenzeichen 12 O 345/26"
    assert PersonalDataMask(("email",))(text) == f"{HIDDEN}, +49 30 123456, Aktenzeichen 12 O 345/26"
    assert PersonalDataMask((), [r"\d+ O \d+/\d\d"])(text) == f"jane@example.com, +49 30 123456, Aktenzeichen {HIDDEN}"
    assert PersonalDataMask(())(text) == text


@pytest.mark.parametrize("text", ["a" * 20_000, "1 " * 10_000, "+1" * 10_000, "a@" * 10_000, "a.b-" * 5_000 + "@", "(0" * 10_000, "DE12" * 5_000, "4 " * 10_000 + "x",
                                  "tel " * 5_000, "0-" * 10_000, "٣" * 20_000])
def test_masking_takes_no_longer_than_its_limit(text: str) -> None:
    began = time.process_time()
    MASK(text)
    assert time.process_time() - began < 2


def test_a_text_on_which_a_pattern_takes_too_long_is_hidden_as_a_whole() -> None:
    assert PersonalDataMask((), ["(a|aa)+$"])("a" * 5_000 + "b") == HIDDEN
