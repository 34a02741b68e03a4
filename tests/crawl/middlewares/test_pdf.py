"""PDFs as pages: real ones, broken ones, and the time limit of their conversion."""

from __future__ import annotations

import asyncio
from importlib import util
from pathlib import Path

import pytest

from pipeline.crawl.middlewares import pdf
from pipeline.errors import FetchError, SettingsError
from pipeline.model import Outcome
from pipeline.settings import load
from pipeline.settings.models import extraction
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, PageSite
from tests.servers.program import Program

PDFS = [path for path in Path("/usr/share/doc").rglob("*.pdf") if path.stat().st_size < 3e6][:5]
PDF = Answer(headers={"Content-Type": "application/pdf"})


def a_pdf(*pages: str, title: str = "A title") -> bytes:
    """A PDF with one line on each page (ISO 32000-1, Annex H.2). It has no table of objects, which readers rebuild."""
    kids = " ".join(f"{10 + 2 * n} 0 R" for n in range(len(pages)))
    objects = [f"1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj 2 0 obj <</Type/Pages/Kids[{kids}]/Count {len(pages)}>> endobj",
               "3 0 obj <</Type/Font/Subtype/Type1/BaseFont/Helvetica>> endobj", f"4 0 obj <</Title({title})>> endobj"]
    for n, text in enumerate(pages):
        drawn = f"BT /F 12 Tf 50 700 Td ({text}) Tj ET"
        objects.append(f"{10 + 2 * n} 0 obj <</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents {11 + 2 * n} 0 R"
                       f"/Resources<</Font<</F 3 0 R>>>>>> endobj\n{11 + 2 * n} 0 obj <</Length {len(drawn)}>> stream\n"
                       f"{drawn}\nendstream endobj")
    return ("%PDF-1.4\n" + "\n".join(objects) + "\ntrailer <</Root 1 0 R/Info 4 0 R>>\n%%EOF\n").encode()


def test_items_are_extracted_from_a_pdf_and_its_pages_can_be_watched(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": "<a href=/r>report</a>", "/r": Answer(a_pdf("Price: 12.50 EUR", "<b>Stock</b>: 3"), headers=PDF.headers)}
    crawls.write(f"""
        [spiders.s]
        start = "{site.url}/"
        follow = ["a"]
        pdf = true
        [spiders.s.items]
        key = ["title"]
        fields = {{ title = "title", price = {{ css = "#page-1", type = "number", required = true }}, stock = "#page-2 p" }}
        [spiders.w]
        spider = "watch"
        start = "{site.url}/r"
        pdf = true
        watch = {{ part = "#page-2" }}
    """)
    crawls.run()
    assert list(crawls.items().values()) == [{"title": "A title", "price": 12.5, "stock": "<b>Stock</b>: 3"}]
    crawls.run("w")
    assert [item["text"] for item in crawls.items("w").values()] == ["<b>Stock</b>: 3"]


def test_rules_can_be_tried_on_a_pdf(program: Program, site: PageSite) -> None:
    site.pages = {"/r": Answer(a_pdf("Price: 12.50 EUR"), headers=PDF.headers)}
    program.write(f"""
        [spiders.s]
        start = "{site.url}/r"
        pdf = true
        items.fields = {{ price = {{ css = "#page-1 p", type = "number" }} }}
    """)
    tried = program.run("try", "s", f"{site.url}/r")
    assert "12.5" in tried.stdout, tried.stderr


def test_a_pdf_that_cannot_be_read_fails_its_page_alone(crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": "<a href=/bad>1</a><a href=/good>2</a>", "/bad": Answer(b"%PDF-1.4 broken", headers=PDF.headers),
                  "/good": Answer(a_pdf("Hello"), headers=PDF.headers)}
    crawls.write(f"""
        [spiders.s]
        start = "{site.url}/"
        follow = ["a"]
        pdf = true
        items = {{ fields = {{ text = "p" }} }}
    """)
    run = crawls.run()
    assert (run.outcome, run.progress.pages_failed, len(crawls.items())) == (Outcome.SUCCEEDED, 1, 1)
    assert "/bad: the PDF cannot be read: Failed to load document" in run.error


def test_a_conversion_that_takes_too_long_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "LIMIT_S", 0.0)
    with pytest.raises(FetchError, match="not converted within 0 s"):
        asyncio.run(pdf.page_of(a_pdf("x"), "http://site.example/"))


@pytest.mark.skipif(not PDFS, reason="no PDFs among this machine's documents: install libtasn1-doc")
def test_real_pdfs_are_read() -> None:
    for path in PDFS:
        page = asyncio.run(pdf.page_of(path.read_bytes(), str(path))).decode()
        assert page.count("<section") == page.count("</section>") >= 1, path
        assert page.count("<p>") > 20, path


@pytest.mark.parametrize(("line", "words"), [
    ("pdf = true", r"needs the package pypdfium2.*pip install 'crawl-to-inbox\[pdf\]'"),
    ('items.fields = { d = { css = "p", type = "date", guess = true } }', r"dateparser.*crawl-to-inbox\[dates\]")])
def test_without_the_extra_the_error_says_what_to_install(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, words: str) -> None:
    monkeypatch.setattr(extraction, "find_spec", lambda name: None if name in ("pypdfium2", "dateparser") else util.find_spec(name))
    (tmp_path / "settings.toml").write_text(f'[spiders.s]\nstart = "http://site.example/"\n{line}\n')
    with pytest.raises(SettingsError, match=words):
        load(tmp_path / "settings.toml")
