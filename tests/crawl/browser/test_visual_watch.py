"""Tests of comparing the pictures of watched pages with those reported last, and of storing them."""

from __future__ import annotations

import asyncio
import io
from datetime import UTC, datetime
from typing import Any

import pytest
from PIL import Image

from pipeline.crawl.browser.screenshot import Picture, PictureRules
from pipeline.crawl.browser.visual_watch import VisualWatch
from pipeline.crawl.context import CrawlContext
from pipeline.errors import StoreError
from pipeline.model import PICTURE, Item, Page, Progress
from pipeline.session import open_session
from pipeline.settings import RenderTable
from pipeline.store.crawl import commit, items
from pipeline.store.crawl.compare import Comparison
from pipeline.store.runs import runs
from tests.crawl.conftest import Crawls

URL = "https://shop.test/"
VISUAL = "watch.visual = true"


def picture(*pixels: tuple[int, int], colour="black", size=(100, 100), **others: Any) -> Picture:
    """A white picture with some pixels of a colour."""
    made = Image.new("RGB", size, "white")
    for place in pixels:
        made.putpixel(place, {"black": (0, 0, 0), "grey": (250, 250, 250)}[colour])
    file = io.BytesIO()
    made.save(file, "PNG")
    return Picture(file.getvalue(), *size, **others)


class Passes:
    """Passes that see one page, as a crawl commits it."""

    def __init__(self, crawls: Crawls, settings: str = VISUAL) -> None:
        self.crawls = crawls
        self.set(settings)

    def set(self, settings: str) -> None:
        self.crawls.write(f'[spiders.s]\nspider = "watch"\nstart = "{URL}"\n{settings}\n')

    def see(self, found: Picture | None, text: str = "text", *, die: bool = False) -> tuple[list[str], list[str]]:
        """Return the fields that changed (["new"] for a new page) and the notes of the run. die: the process is killed before it commits the page."""
        store, table = self.crawls.store, self.crawls.settings.spiders["s"]
        run = self.crawls._claimed("s", store.owner)
        context = CrawlContext(store=store, run=run, table=table, session=open_session("s", table, self.crawls.settings), starts=(), progress=Progress(),
                               on_downloads=lambda: None)
        rules = PictureRules.of(table, table.render or RenderTable())
        data = {"url": URL, "name": "Shop", "text": text}
        if rules is not None:
            data = asyncio.run(VisualWatch(context, rules).with_picture(data, found))
        if die:
            runs.end_run(store, run, runs.Ending(runs.Outcome.KILLED), Progress(), now=datetime.now(UTC))
            return [], context.notes
        commit.commit_pages(store, run, [Page(URL, 200, datetime.now(UTC), items=(Item(URL, data),))], now=datetime.now(UTC), comparison=Comparison.of_spider(table))
        ended = runs.end_run(store, run, runs.Ending(runs.Outcome.SUCCEEDED, complete=True), Progress(pages=1), now=datetime.now(UTC))
        assert not ended.suspect, ended.error
        changes = self.crawls.changes(run)
        return [name for change in changes for name in (["new"] if change.kind.value == "new" else change.fields)], context.notes

    def stored(self) -> list[str]:
        return sorted(found.key for found in self.crawls.store.files.list("screenshots/"))

    def last(self) -> dict[str, Any]:
        found = items.reported(self.crawls.store, "s", URL)
        assert found is not None
        return found[PICTURE]


@pytest.fixture
def passes(crawls: Crawls) -> Passes:
    return Passes(crawls)


def test_small_differences_add_up_to_a_change_because_the_last_reported_picture_is_compared(passes: Passes) -> None:
    passes.set("watch.visual = { min_change = 0.0003 }")
    assert passes.see(picture()) == (["new"], [])
    assert passes.see(picture((1, 1))) == ([], [])
    assert passes.see(picture((1, 1), (9, 9))) == ([], [])
    assert len(passes.stored()) == 1
    assert passes.see(picture((1, 1), (9, 9), (5, 5))) == ([PICTURE], [])
    assert passes.last()["changed"] == pytest.approx(0.0003)
    assert passes.see(picture((1, 1), (9, 9), (5, 5))) == ([], [])
    assert passes.see(picture()) == ([PICTURE], [])
    assert len(passes.stored()) == 2


def test_a_change_of_the_text_takes_even_a_small_difference_with_it(passes: Passes) -> None:
    passes.see(picture())
    assert passes.see(picture((1, 1))) == ([], [])
    assert passes.see(picture((1, 1)), "another text") == (["text", PICTURE], [])
    assert passes.see(picture((1, 1)), "a third text") == (["text"], [])


def test_differences_below_the_threshold_do_not_count(passes: Passes) -> None:
    passes.set("watch.visual = { min_change = 0 }")
    passes.see(picture())
    assert passes.see(picture((1, 1), colour="grey")) == ([], [])
    assert passes.see(picture((1, 1))) == ([PICTURE], [])
    passes.set("watch.visual = { min_change = 0, threshold = 0 }")
    assert passes.see(picture((1, 1), (2, 2), colour="black")) == ([PICTURE], [])


def test_the_first_picture_of_a_known_page_is_what_the_next_ones_are_compared_with(passes: Passes) -> None:
    passes.set("")
    assert passes.see(None) == (["new"], [])
    passes.set(VISUAL)
    assert passes.see(picture()) == ([], [])
    assert passes.see(picture(size=(100, 130))) == ([PICTURE], [])
    passes.set("")
    assert passes.see(None) == ([], [])  # without visual, the picture is no longer a field, which is no change
    passes.set(VISUAL)
    assert passes.see(picture(size=(100, 130))) == ([], [])
    assert passes.see(picture()) == ([PICTURE], [])


@pytest.mark.parametrize("found", [None, Picture(), picture((1, 1), problem="the image x did not load (HTTP 503)"), Picture(problem="too late")])
def test_without_a_complete_picture_the_last_one_stays_and_the_run_says_why(passes: Passes, found: Picture | None) -> None:
    passes.see(picture())
    before = passes.last()
    changed, (note,) = passes.see(found, "another text")
    assert changed == ["text"]
    assert note.startswith(f"the picture of {URL} was not compared: ")
    assert passes.last() == before
    assert passes.see(picture(*[(x, 0) for x in range(100)]), "another text") == ([PICTURE], [])


def test_a_lost_picture_is_replaced_without_a_change(passes: Passes) -> None:
    passes.see(picture())
    passes.crawls.store.files.remove(passes.last()["file"])
    changed, (note,) = passes.see(picture(size=(100, 200)))
    assert changed == []
    assert "takes its place, without being compared" in note
    assert passes.see(picture()) == ([PICTURE], [])
    passes.crawls.store.files.write(passes.last()["file"], b"damaged")
    assert passes.see(picture(size=(100, 200)))[0] == []
    assert passes.see(picture()) == ([PICTURE], [])


def test_a_run_that_is_killed_before_the_commit_loses_nothing_and_nothing_is_told_twice(passes: Passes) -> None:
    passes.see(picture())
    passes.see(picture(size=(100, 200)), die=True)
    assert passes.last()["height"] == 100
    assert passes.see(picture(size=(100, 200))) == ([PICTURE], [])
    assert passes.see(picture(size=(100, 200))) == ([], [])
    assert len(passes.stored()) == 2


def test_only_the_first_pages_without_a_picture_are_named(crawls: Crawls) -> None:
    crawls.write(f'[spiders.s]\nspider = "watch"\nstart = "{URL}"\n{VISUAL}\n')
    table = crawls.settings.spiders["s"]
    context = CrawlContext(store=crawls.store, run=crawls._claimed("s", crawls.store.owner), table=table, session=open_session("s", table, crawls.settings), starts=(),
                           progress=Progress(), on_downloads=lambda: None)
    rules = PictureRules.of(table, table.render or RenderTable())
    assert rules is not None
    visual = VisualWatch(context, rules)
    for number in range(9):
        asyncio.run(visual.with_picture({"url": f"{URL}{number}"}, None))
    assert len(context.notes) == 4
    assert context.notes[-1] == "the pictures of further pages were not compared"


def test_a_page_that_is_higher_than_its_picture_is_said(passes: Passes) -> None:
    assert passes.see(picture(cut=True))[1] == [f"{URL} is higher than its picture: only the first 100 pixels are compared"]


def test_a_picture_that_cannot_be_stored_is_an_error_of_the_store(passes: Passes, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(key: str, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(passes.crawls.store.files, "write", full)
    with pytest.raises(StoreError, match="a picture could not be stored: No space left on device"):
        passes.see(picture())


def test_visual_renders_pages_with_their_images_unless_the_settings_block_them(crawls: Crawls) -> None:
    def blocked(settings: str) -> set[str] | None:
        crawls.write(f'[spiders.s]\nspider = "watch"\nstart = "{URL}"\n{settings}\n')
        render = crawls.settings.spiders["s"].render
        return None if render is None else set(render.block)

    assert blocked("watch.visual = true") == {"media", "trackers"}
    assert blocked('watch.visual = true\nrender = "browser"') == {"media", "trackers"}
    assert blocked('watch.visual = true\nrender.locale = "de-DE"') == {"media", "trackers"}
    assert blocked('watch.visual = true\nrender.block = ["images"]') == {"images"}
    assert blocked("watch.visual = false") is None
    assert blocked("") is None
