"""The encoding of a page is determined as in browsers, in all parts of the program."""

from __future__ import annotations

import codecs

import pytest

from pipeline.session.responses.encodings import codec, page_encoding

LABELS = [
    # header's label, body's encoding, a text of it
    ("x-sjis", "cp932", "価格①"), ("Shift_JIS", "cp932", "価格"), ("windows-31j", "cp932", "①"), ("windows-949", "cp949", "똠 가격"),
    ("ks_c_5601-1987", "cp949", "가격"), ("unicode-1-1-utf-8", "utf-8", "Preis €"), ("utf8", "utf-8", "Preis €"),
    ("x-cp1252", "cp1252", "Preis €"), ("latin1", "cp1252", "Preis €"), ("ISO-8859-1", "cp1252", "„Preis“"),
    ("us-ascii", "cp1252", "„Preis“"), ("iso-8859-9", "cp1254", "fiyatı €"), ("iso-8859-8-i", "iso8859-8", "מחיר"),
    ("logical", "iso8859-8", "מחיר"), ("gb2312", "gb18030", "价格 €"), ("x-gbk", "gb18030", "價格"), ("big5-hkscs", "big5hkscs", "價格"),
    ("x-x-big5", "big5hkscs", "價格"), ("tis-620", "cp874", "ราคา"), ("x-mac-cyrillic", "mac-cyrillic", "цена"),
    ("koi8-ru", "koi8-u", "цiна"), ("cp866", "cp866", "цена"), ("x-euc-jp", "euc_jp", "価格"), ("csiso2022jp", "iso2022_jp", "価格"),
    ("unicode", "utf-16-le", "Preis €"), ("ucs-2", "utf-16-le", "Preis €"), ("utf-16", "utf-16-le", "Preis €"),
    ("x-user-defined", "x-user-defined", "a\uf780"), ("hz-gb-2312", "hz", "价格"), ('"utf-8"', "utf-8", "€"), ("'gbk'", "gb18030", "价格")]
NO_LABELS = ["zlib", "undefined", "idna", "utf-7", "hex", "rot13", "base64", "bz2", "punycode", "unicode_escape", "mbcs", "binary", "",
             "utf-8859", "none", "UTF-32", "x" * 500, "\u20ac", "utf\x00-8", "charset", "../etc", "replacement"]


def page(text: str, head: str = "") -> str:
    return f"<html><head>{head}<title>t</title></head><body><h1>{text}</h1></body></html>"


@pytest.mark.parametrize(("label", "encoding", "text"), LABELS)
def test_labels_of_the_encoding_standard_are_known(label: str, encoding: str, text: str) -> None:
    assert page_encoding(page(text).encode(encoding), f"text/html; charset={label}") == encoding


@pytest.mark.parametrize("label", NO_LABELS)
def test_an_unknown_label_is_ignored_and_the_next_source_counts(label: str) -> None:
    german, header = page("Größe").encode(), f"text/html; charset={label}"
    assert page_encoding(german, header) == "utf-8"
    assert page_encoding(page("цена", "<meta charset=windows-1251>").encode("cp1251"), header) == "cp1251"
    assert page_encoding(page("цена", f"<meta charset='{label}'><meta charset=koi8-r>").encode("koi8-r", "replace"), header) == "koi8-r"
    assert page_encoding(german, "text/html", label) == ("utf-32" if label == "UTF-32" else "utf-8")


@pytest.mark.parametrize(("content_type", "body", "encoding"), [
    ("text/html; charset=gbk", codecs.BOM_UTF8 + b"<p>", "utf-8"), ("text/html; charset=utf-8", codecs.BOM_UTF16_LE + b"<\0", "utf-16-le"),
    ("", codecs.BOM_UTF16_BE + b"\0<", "utf-16-be"), ("text/html; charset=utf-8", b"<meta charset=gbk>", "utf-8"),
    ("text/html;x=\"; charset=gbk\"; CHARSET = koi8-r", b"", "koi8-r"), ("text/html; charset=koi8-r; charset=gbk", b"", "koi8-r"),
    ("", b"<?xml version='1.0' encoding='euc-jp'?><a/>", "euc_jp"), ("", b"<!-- <meta charset=gbk> --><meta charset=koi8-r>", "koi8-r"),
    ("", b"<META HTTP-EQUIV='Content-Type' CONTENT='text/html; charset=big5'>", "big5hkscs"),
    ("", b"<meta name=description content='charset=big5'><meta charset=gbk>", "gb18030"),
    ("", b"<meta content='a>b' charset=\"gbk\">", "gb18030"), ("", b"<meta/charset=gbk>", "gb18030"),
    ("", b"<meta charset=utf-16>", "utf-8"), ("", b"<meta charset=x-user-defined>", "cp1252"),
    ("text/html", b"plain", "cp1252"), ("application/json", b"{}", "utf-8"), ("", "价格".encode(), "utf-8"), ("", b"\xff\xfe\xfd" * 9, None),
    ("", b"<meta " * 20_000, "utf-8"), ("", b"<!--" * 20_000, "utf-8")])
def test_a_mark_comes_before_the_header_a_declaration_and_detection(content_type: str, body: bytes, encoding: str | None) -> None:
    found = page_encoding(body, content_type)
    assert codecs.lookup(found)
    assert encoding in (found, None)


def test_the_settings_override_all_but_a_mark_and_may_use_pythons_names() -> None:
    assert page_encoding(b"<meta charset=gbk>", "text/html; charset=koi8-r", "utf_8") == "utf-8"
    assert page_encoding(codecs.BOM_UTF8, "", "gbk") == "utf-8"
    assert (codec("latin_1"), codec("cp850"), codec("zlib"), codec("utf-7")) == ("cp1252", "cp850", None, None)
