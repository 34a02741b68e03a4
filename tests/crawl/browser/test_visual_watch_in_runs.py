"""Tests of `watch.visual` in whole runs.

What is a change, what is none, and that nothing is told twice or lost.
"""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from pipeline.cli.main import main
from pipeline.model import PICTURE, Change, PagePicture
from pipeline.pixel_difference import opened
from pipeline.store.crawl import items
from tests.crawl.browser.png import png
from tests.crawl.conftest import Crawls
from tests.servers.pages import Answer, PageSite

pytestmark = pytest.mark.needs("chromium")
PAGE = ("<!doctype html><title>Shop</title><style>body{{margin:0}}div{{width:200px;height:200px;background:{colour}}}</style><p>{text}</p>"
        "<div id=box></div><p class=clock></p><script>document.querySelector('.clock').textContent = 'now: ' + Math.random()</script>{more}")


class Watch:
    """A page that is watched, and what its runs find."""

    def __init__(self, crawls: Crawls, site: PageSite) -> None:
        self.crawls, self.site = crawls, site
        self.settings('watch = { ignore = ["now: .*"], visual = { ignore = ".clock" } }')
        self.show()

    def settings(self, watch: str) -> None:
        self.crawls.write(f'[spiders.s]\nspider = "watch"\nstart = "{self.site.url}/"\nretries = 0\n{watch}\n')

    def show(self, colour: str = "red", text: str = "the text", more: str = "") -> None:
        self.site.pages["/"] = PAGE.format(colour=colour, text=text, more=more)

    def run(self) -> tuple[list[Change], str]:
        """Run the spider, and return the changes of the run and the run's line."""
        run = self.crawls.run()
        assert run.outcome.value == "succeeded", run.error
        found = [change for change in items.changes(self.crawls.store, "s") if change.run_id == run.id]
        return found, run.error

    def files(self) -> list[str]:
        return sorted(found.key for found in self.crawls.store.files.list("screenshots/"))


@pytest.fixture
def watch(quick_crawls: Crawls, site: PageSite) -> Watch:
    return Watch(quick_crawls, site)


def picture(data: dict) -> PagePicture:
    found = PagePicture.of(data[PICTURE], "s")
    assert found is not None
    return found


def test_only_what_people_see_differently_is_a_change_and_text_and_picture_are_one(watch: Watch) -> None:
    (first,), said = watch.run()
    assert (first.kind.value, said) == ("new", "")
    before = picture(first.after)
    assert opened(watch.crawls.store.files.local(before.file).read_bytes()).size == (before.width, before.height) == (1280, 800)
    watch.show("#fe0000")
    assert watch.run() == ([], "")  # the clock shows another number, in a red that nobody tells from the first
    assert watch.files() == [before.file]
    watch.show("blue")
    (change,), said = watch.run()
    after = picture(change.after)
    assert (change.fields, said) == ([PICTURE], "")
    assert (picture(change.before).file, after.since) == (before.file, before.file)
    assert after.changed == pytest.approx(200 * 200 / (1280 * 800), rel=1e-3)
    assert len(after.regions) == 1
    watch.show("blue", "another text")
    (change,), _ = watch.run()
    assert change.fields == ["text", PICTURE]
    assert picture(change.before).file == after.file
    assert len(watch.files()) == 3


def test_a_picture_that_is_not_complete_is_never_a_change(watch: Watch) -> None:
    watch.site.pages["/a.png"] = Answer(png(300, 300, "#00ff00"), headers={"Content-Type": "image/png"})
    watch.show(more='<img src="/a.png" width=300 height=300>')
    watch.run()
    watch.site.pages["/a.png"] = Answer("busy", 503)
    changes, said = watch.run()
    assert changes == []
    assert "was not compared: the image" in said
    assert "HTTP 503" in said


def test_the_picture_of_a_part_and_a_selector_that_hides_nothing(watch: Watch) -> None:
    watch.settings('watch = { part = "p:first-of-type, #box", visual = { ignore = [".clock", ".nothing"] } }')
    (first,), said = watch.run()
    assert picture(first.after).height < 300
    assert "`watch.visual.ignore[1]` matched nothing" in said


def test_what_is_removed_from_the_text_is_left_out_of_the_picture(watch: Watch) -> None:
    watch.settings('watch = { visual = true, without = ["p", ".clock", ":lexbor-contains(\'x\')"] }')
    watch.run()
    watch.show("red", "another text")
    assert watch.run()[0] == []


def test_a_part_that_is_no_element_is_said(watch: Watch) -> None:
    watch.settings('watch = { part = { page = "title" }, visual = true }')
    assert "`watch.visual` compares pictures of the whole page, because `watch.part` selects no element" in watch.run()[1]


def test_with_screenshot_a_change_of_the_text_shows_the_page_of_now_without_comparing_pictures(watch: Watch) -> None:
    watch.settings('watch = { part = "p:first-of-type" }\nrender.screenshot = "part"')
    (first,), _ = watch.run()
    watch.show("blue", "a much longer text")
    (change,), _ = watch.run()
    assert change.fields == ["text"]
    assert picture(change.after).file != picture(first.after).file


def test_try_says_which_picture_would_be_taken(watch: Watch) -> None:
    watch.site.pages["/"] = "<title>Shop</title><p>text"
    done = CliRunner().invoke(main, ["try", "--settings", str(watch.crawls.folder / "settings.toml"), "s", watch.site.url + "/"])
    assert "\npicture: 1280 x 800 pixels, " in done.output
