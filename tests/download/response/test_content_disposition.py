"""File names from Content-Disposition.

The test cases of Chromium, Firefox and wget, and hostile headers.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from pipeline.download.response.content_disposition import file_name

CASES = [case for case in json.loads((Path(__file__).parents[2] / "data" / "content-disposition.json").read_text())["cases"]
         if case.get("known_good", True)]
# Where Chromium and Firefox disagree, or the answer hangs on the page's charset or the machine's language.
OTHERWISE = {
    'inline; filename="abc  \t\nde.pdf"', 'attachment; filename="%EC%98%88%EC%88%A0 \n%EC%98%88%EC%88%A0.jpg"',
    "attachment; filename=caf\xe5.png", "attachment; filename=\xb0\xa1\xb0\xa2.png", "attachment; filename*=foo.html",
    "attachment; filename*=''foo-%c3%a4-%e2%82%ac.html", "attachment; filename*=\"UTF-8''foo-%c3%a4.html\"",
    '"foo; filename=bar;baz"; filename=qux', "inline; attachment; filename=foo.html", "attachment; inline; filename=foo.html",
    "attachment; filename*=a''foo"}


@pytest.mark.parametrize("case", [case for case in CASES if case["header_latin1"] not in OTHERWISE],
                         ids=lambda case: case["header_latin1"][:60].encode("unicode_escape").decode())
def test_the_name_is_the_one_that_browsers_choose(case: dict[str, str]) -> None:
    assert file_name(case["header_latin1"]) == case["expected"]


def test_all_but_eleven_of_the_219_cases_are_included() -> None:
    right = [case for case in CASES if file_name(case["header_latin1"]) == case["expected"]]
    assert (len(CASES), len(right)) == (219, 208)


def latin1(text: str) -> str:
    return text.encode().decode("latin-1")


@pytest.mark.parametrize(("header", "name"), [
    (latin1('attachment; filename="目录.csv"'), "目录.csv"), ('attachment; filename="Übersicht.pdf"', "Übersicht.pdf"),
    ("attachment; filename=C:\\dir\\x.pdf", "C:\\dir\\x.pdf"), ('attachment; filename="C:\\\\dir\\\\x.pdf"', "C:\\dir\\x.pdf"),
    ("filename=x.pdf", "x.pdf"), ("filename*=UTF-8''%e2%82%ac.pdf", "€.pdf"), ("attachment;filename=x.pdf;size=1", "x.pdf"),
    ("attachment; filename==?UTF-8?B?4oKsLnBkZg==?=", "€.pdf"), ('attachment; filename="=?utf-8?q?=E2=82=AC?=.pdf"', "€.pdf"),
    ("attachment; filename*=undefined''x.pdf", ""), ("attachment; filename*=undefined''x.pdf; filename=y.pdf", "y.pdf"),
    ("attachment; filename*=no-such''x.pdf; filename=y.pdf", "y.pdf"), ("attachment; filename*=zlib''x; filename=y", "y"),
    ("attachment; filename*=rot13''x; filename=y", "y"), ("attachment; filename*=idna''x..y; filename=y", "y"),
    ("attachment; filename*=unicode_escape''%5cx; filename=y", "y"), ("attachment; filename*=\0''x; filename=y", "y"),
    ("attachment; filename*=utf-16''%ff; filename=y", "y"), ("attachment; filename*=UTF-8''%ff; filename=y", "y"),
    ("attachment; filename*0*=no-such''x; filename*1=y; filename=z", "z"), ("attachment; filename==?no-such?Q?x?=", ""),
    ("attachment; filename==?utf-8?B?!?=", ""), ("attachment; filename==?utf-8?Q?=FF?=", ""), ("attachment; filename=\ud800", "?"),
    ("attachment; filename", ""), ("=", ""), (";;=;", ""), ("", "")])
def test_an_invalid_parameter_is_ignored_and_the_others_count(header: str, name: str) -> None:
    assert file_name(header) == name


@pytest.mark.parametrize("piece", ['"', "\\", '"\\', ";", "=", "'", "=?", "=?a?q?", "%", 'filename*0="', "filename*", "a;\"b\"", "\0"])
def test_a_long_header_is_parsed_in_linear_time(piece: str) -> None:
    begun = time.process_time()
    for start in ("", "attachment; filename=", 'attachment; filename="', "attachment; filename*=utf-8''"):
        file_name(start + piece * 100_000)
    assert time.process_time() - begun < 5
