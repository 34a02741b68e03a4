"""File names: every text from a spider, header or URL becomes one safe path component."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.download.storage import filenames
from pipeline.model import Download
from tests.download.conftest import Bench

HOSTILE = [
    ('attachment; filename="../../x"', "x"),
    ('attachment; filename="C:\\\\x"', "x"),
    ('attachment; filename="C:\\x"', "C_x"),
    ("attachment; filename=CON", "CON_"),
    ('attachment; filename="nul.txt"', "nul_.txt"),
    ('attachment; filename="COM1.tar.gz"', "COM1_.tar.gz"),
    ('attachment; filename="a\u202efdp.exe"', "afdp.exe"),
    ('attachment; filename="a\x01\x1b[31mb.txt"', "a[31mb.txt"),
    ('attachment; filename=".bashrc"', "bashrc"),
    ('attachment; filename="-rf.txt"', "rf.txt"),
    ('attachment; filename="x.pdf. . "', "x.pdf"),
    ('attachment; filename="a:b*c?.txt"', "a_b_c_.txt"),
    ("attachment; filename*=UTF-8''%E7%9B%AE%E5%BD%95.csv", "目录.csv"),
    ("attachment; filename=\"x.csv\"; filename*=UTF-8''%e2%82%ac.csv", "€.csv"),
    ("attachment; filename*=iso-8859-1'en'%A3.csv; filename=y.csv", "£.csv"),
    ("attachment; filename*=UTF-8''%2e%2e%2f%2e%2e%2fetc%2fpasswd", "passwd"),
    ("attachment; filename*=UTF-8''%ff.csv; filename=y.csv", "y.csv"),
    ('attachment; filename="a;b.txt"; x=y', "a;b.txt"),
    ("attachment; filename=two words.txt", "two words.txt"),
    ("目录.csv".encode().decode("latin-1").join(('attachment; filename="', '"')), "目录.csv"),
    ('attachment; filename="..."', "given"),
    ('attachment; filename=""', "given"),
    ("inline", "given"),
    (f'attachment; filename="{"n" * 300}.pdf"', "n" * 146 + ".pdf"),
    (f"attachment; filename*=UTF-8''{'%E5%BD%95' * 300}.tar.gz", "录" * 47 + ".tar.gz"),
]


@pytest.mark.parametrize(("disposition", "name"), HOSTILE)
def test_a_content_disposition_becomes_a_safe_name(disposition: str, name: str) -> None:
    chosen = filenames.choose(preferred="", disposition=disposition, url="http://h/dir/given?q=1",
                          content_type="application/octet-stream")
    assert chosen == name


@pytest.mark.parametrize(("url", "kind", "name"), [
    ("http://h/", "text/html; charset=utf-8", "download.html"),
    ("http://h/a%2F..%2Fb.pdf", "", "b.pdf"),
    ("http://h/%2e%2e", "", "download"),
    ("http://h/r?file=x.pdf", "application/pdf", "r.pdf"),
    ("http://h/photo", "image/jpeg", "photo.jpg"),
    ("http://h/v1.0", "text/csv", "v1.0"),
    ("http://h/%E7%9B%AE.tar.gz/", "", "目.tar.gz"),
    ("http://[broken", "", "download")])
def test_without_content_disposition_the_url_and_the_content_type_name_the_file(url: str, kind: str, name: str) -> None:
    assert filenames.choose(preferred="", disposition="", url=url, content_type=kind) == name


def test_the_name_that_the_spider_gives_comes_first_and_is_made_safe_too() -> None:
    assert filenames.choose(preferred="../报告", disposition='attachment; filename="x.doc"', url="http://h/y",
                        content_type="application/pdf") == "报告.pdf"


def test_a_name_of_300_characters_is_cut_between_characters_and_keeps_its_extension() -> None:
    name = filenames.safe("录" * 300 + ".tar.gz")
    assert name.endswith("录.tar.gz")
    assert 140 < len(name.encode()) <= filenames.MAX_BYTES


def test_collisions_are_numbered_and_stay_short() -> None:
    numbered = filenames.numbered("é" * 70 + ".pdf")
    taken = [next(numbered) for _ in range(12)]
    assert len(set(taken)) == 12
    assert taken[1].endswith("é (2).pdf")
    assert all(len(name.encode()) <= filenames.MAX_BYTES for name in taken)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=400), st.text(st.sampled_from("./\\:*?\"<>|%'\u202e\u200b\x00\x1f CONnul~-é录"), max_size=60))
def test_no_text_results_in_a_dangerous_name(first: str, second: str) -> None:
    for text in (first, second, first + second):
        name = filenames.choose(preferred=text, disposition=f'attachment; filename="{second}"', url=f"http://h/{text}",
                            content_type="text/csv")
        assert 0 < len(name.encode()) <= filenames.MAX_BYTES
        assert not set(name) & set('/\\:*?"<>|\0')
        assert name not in (".", "..")
        assert name[0] not in ".-~ "
        assert name[-1] not in ". "
        assert not [char for char in name if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
        assert name.partition(".")[0].rstrip(" ").lower() not in {"con", "prn", "aux", "nul", "com1", "lpt9"}
        assert filenames.safe(name) == name, "safe names stay as they are"


def test_files_with_hostile_names_stay_inside_the_folder(bench: Bench) -> None:
    for number, (disposition, _) in enumerate(HOSTILE):
        # Header bytes as a server sends them; a name in UTF-8 goes out as its bytes.
        raw = disposition if disposition.isascii() or max(disposition) < "\u0100" else \
            disposition.encode().decode("latin-1")
        bench.server.put(f"/{number}/given", f"file {number}".encode(), headers={"Content-Disposition": raw})
    bench.get(*(Download(f"{bench.server.url}/{number}/given") for number in range(len(HOSTILE))))
    assert len(bench.files) == len(HOSTILE)
    inside = [path for path in bench.store.data_dir.parent.rglob("*")
              if path.is_file() and path.parent != bench.store.data_dir]
    assert {path.parent for path in inside} == {bench.folder}
    assert len(inside) == len(HOSTILE)
    for file in bench.files:
        number = int(file.url.split("/")[-2])
        assert bench.content(file) == f"file {number}".encode()
