"""Tests of the pictures of watched pages in a mail.

Before, now and what changed, in words and as small pictures.
"""

from __future__ import annotations

import io
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from hashlib import sha256

import pytest
from PIL import Image, ImageDraw

from pipeline.display.field_text import field_text
from pipeline.display.page_picture_text import picture_text
from pipeline.languages import LANGUAGES, wording
from pipeline.mail.digests.channel_text import content_text
from pipeline.mail.digests.contents import contents_of
from pipeline.mail.digests.renderer import RENDER_LEVELS
from pipeline.mail.render.page_comparison import MAX_CHANGES, MAX_MAIL_BYTES, window_of
from pipeline.model import PagePicture
from pipeline.pixel_difference import Region, difference, opened
from pipeline.settings import Settings, load
from pipeline.store.crawl.compare import Comparison
from tests.mail.conftest import NOW, Site, built, text_of
from tests.mail.html_features import JUDGED, features_of

FILES = "https://status.example/files/"


@pytest.fixture
def settings(tmp_path) -> Settings:
    return settings_with(tmp_path)


def settings_with(tmp_path, digest: str = "", spider: str = "") -> Settings:
    path = tmp_path / "settings.toml"
    path.write_text('[mail]\nfrom = "p@example.com"\n[heartbeat]\npublic_url = "https://status.example"\n[spiders.shop]\nspider = "watch"\n'
                    f'start = "http://site.test/"\nwatch.visual = true\n{spider}\n[digests.morning]\nspiders = ["shop"]\nto = ["me@example.com"]\n{digest}\n', "utf-8")
    return load(path)


@pytest.fixture
def site(store, settings) -> Site:
    return Site(store, comparison=Comparison.of_spider(settings.spiders["shop"]))


def page(*boxes, width=1280, height=1500) -> Image.Image:
    made = Image.new("RGB", (width, height), "white")
    for left, top, right, bottom, colour in boxes:
        ImageDraw.Draw(made).rectangle((left, top, right - 1, bottom - 1), colour)
    return made


class Pages:
    """Pictures of one page, stored as a crawl stores them."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.last: dict[str, tuple[PagePicture, bytes]] = {}

    def run(self, made: Image.Image | None, text: str = "the text", key: str = "a", **others) -> None:
        self.site.run({key: self.item(made, text, key), **{each: self.item(value, text, each) for each, value in others.items()}}, spider="shop")

    def item(self, made: Image.Image | None, text: str, key: str) -> dict:
        data = {"url": f"https://shop.test/{key}", "name": f"Page {key}", "text": text}
        if made is not None:
            file = io.BytesIO()
            made.save(file, "PNG")
            content = file.getvalue()
            stored = PagePicture(f"screenshots/shop/{sha256(content).hexdigest()[:32]}-{key}.png", *made.size)
            self.site.store.files.write(stored.file, content)
            before = self.last.get(key)
            if before is not None and before[0].file != stored.file:
                found = difference(opened(before[1]), opened(content), threshold=0.1)
                stored = replace(stored, since=before[0].file, changed=found.share, regions=found.regions)
            elif before is not None:
                stored = before[0]
            self.last[key] = stored, content
            data["picture"] = stored.as_json()
        return data


@pytest.fixture
def pages(site) -> Pages:
    return Pages(site)


def mail_of(store, settings, slot="s1") -> EmailMessage:
    digest = built(store, settings, slot=slot)
    content = store.files.local(f"messages/{digest.digest_id}-1.eml").read_bytes()
    return message_from_bytes(content, policy=policy.default)


def pictures_in(mail: EmailMessage) -> dict[str, Image.Image]:
    return {part["Content-ID"].strip("<>").split("@")[0]: Image.open(io.BytesIO(part.get_content())) for part in mail.walk() if part.get_content_maintype() == "image"}


def test_a_change_shows_the_page_before_now_and_what_changed(store, settings, pages) -> None:
    pages.run(page())
    mail_of(store, settings)
    pages.run(page((600, 1000, 700, 1060, "black")))
    mail = mail_of(store, settings, "s2")
    assert mail["Subject"] == "Page a: 0.31% of the picture changed"
    found = {name.rpartition("-")[2]: made.convert("RGB") for name, made in pictures_in(mail).items()}
    assert list(found) == ["before", "now", "marked"]
    assert {name: made.width for name, made in found.items()} == {"before": 552, "now": 552, "marked": 560}
    darkest = {name: made.convert("L").getextrema()[0] for name, made in found.items()}
    assert darkest["before"] > 150
    assert darkest["now"] < 10
    red = [colour for _, colour in found["marked"].getcolors(1 << 20) if colour[0] > 180 and colour[1] < 90]
    assert red
    html, text = text_of(mail, "html"), text_of(mail)
    before, now = (pages.last["a"][0].since, pages.last["a"][0].file)
    for file in (before, now):
        assert f'href="{FILES}{file}"' in html
        assert FILES + file in text
    assert "picture: 0.31% changed: 112 × 80 pixels, 992 pixels from the top" in text
    assert html.count("<img") == 3
    assert "cid:" in html
    assert 'alt="Page a: What changed"' in html
    assert features_of([html]) <= JUDGED


def test_text_and_picture_of_a_page_are_one_change(store, settings, pages) -> None:
    pages.run(page())
    mail_of(store, settings)
    pages.run(page((0, 0, 64, 64, "red")), "another text")
    text = text_of(mail_of(store, settings, "s2"))
    assert text.count("Page a") == 1
    assert "text: " in text
    assert "picture: 0.21% changed" in text


def test_a_change_of_the_text_alone_shows_the_page_as_it_looks_now(store, settings, pages) -> None:
    pages.run(page())
    mail_of(store, settings)
    pages.run(page(), "another text")
    mail = mail_of(store, settings, "s2")
    assert [name.rpartition("-")[2] for name in pictures_in(mail)] == ["now"]
    assert "picture:" not in text_of(mail)


def test_a_new_page_shows_how_it_looks_and_no_field_of_its_picture(store, settings, pages) -> None:
    pages.run(page(height=9000))
    mail = mail_of(store, settings)
    (made,) = pictures_in(mail).values()
    assert made.height <= 1.1 * made.width + 1
    assert "picture:" not in text_of(mail)
    assert "screenshots" not in text_of(mail).replace(FILES, "").replace(f"screenshots/shop/{sha256(pages.last['a'][1]).hexdigest()[:32]}-a.png", "")


def test_a_new_page_that_changed_since_it_was_found_is_compared_with_nothing(store, settings, pages) -> None:
    pages.run(page())
    pages.run(page((0, 0, 640, 640, "red")))
    assert [name.rpartition("-")[2] for name in pictures_in(mail_of(store, settings))] == ["now"]


def test_a_first_picture_of_a_known_page_is_no_change_and_is_what_the_next_is_compared_with(store, settings, pages) -> None:
    pages.run(None)
    mail_of(store, settings)
    pages.run(page())
    assert contents_of(store, settings, "morning", [2]) == []
    pages.run(page((0, 0, 640, 640, "red")))
    assert "picture: 21% changed" in text_of(mail_of(store, settings, "s2"))


def test_several_changes_between_two_mails_are_compared_from_what_the_reader_saw(store, settings, pages) -> None:
    pages.run(page())
    mail_of(store, settings)
    pages.run(page((0, 0, 640, 640, "red")))
    pages.run(page((0, 0, 640, 640, "red"), (640, 640, 704, 704, "blue")))
    mail = mail_of(store, settings, "s2")
    assert "picture: 22% changed" in text_of(mail)
    darkest = next(made for name, made in pictures_in(mail).items() if name.endswith("before")).convert("L").getextrema()[0]
    assert darkest > 150


def test_a_page_that_looks_as_before_again_is_not_told(store, settings, pages) -> None:
    pages.run(page())
    mail_of(store, settings)
    pages.run(page((0, 0, 640, 640, "red")))
    pages.run(page())
    assert contents_of(store, settings, "morning", [2, 3]) == []


def test_pictures_are_left_out_with_images_false_and_what_changed_is_still_told(store, tmp_path, pages) -> None:
    settings = settings_with(tmp_path, "images = false")
    pages.run(page())
    mail_of(store, settings)
    pages.run(page((0, 0, 640, 640, "red")))
    mail = mail_of(store, settings, "s2")
    assert pictures_in(mail) == {}
    assert "picture: 21% changed" in text_of(mail)


def test_a_picture_that_is_no_longer_stored_is_left_out(store, settings, pages) -> None:
    pages.run(page())
    mail_of(store, settings)
    pages.run(page((0, 0, 640, 640, "red")))
    store.files.remove(pages.last["a"][0].since)
    mail = mail_of(store, settings, "s2")
    assert [name.rpartition("-")[2] for name in pictures_in(mail)] == ["now"]
    store.files.remove(pages.last["a"][0].file)
    pages.last.clear()
    pages.run(page((9, 9, 99, 99, "blue")), "new text")
    store.files.remove(pages.last["a"][0].file)
    mail = mail_of(store, settings, "s3")
    assert pictures_in(mail) == {}
    assert "1 more picture is not shown" in text_of(mail)


def test_only_some_pages_of_many_have_pictures_and_the_mail_says_so(store, settings, pages) -> None:
    keys = [f"k{number}" for number in range(MAX_CHANGES + 3)]
    small = page(width=560, height=320)
    pages.run(small, **dict.fromkeys(keys, small))
    mail_of(store, settings)
    noise = Image.effect_noise((560, 320), 90).convert("RGB")
    pages.run(noise, **dict.fromkeys(keys, noise))
    mail = mail_of(store, settings, "s2")
    contents = [part.get_content() for part in mail.walk() if part.get_content_maintype() == "image"]
    assert 3 <= len(contents) <= 3 * MAX_CHANGES
    assert sum(map(len, contents)) <= MAX_MAIL_BYTES
    assert f"{len(keys) + 1 - len(contents) // 3} more pictures are not shown" in text_of(mail)


def test_a_field_that_only_looks_like_a_picture_embeds_no_file(store, settings, site) -> None:
    store.files.write("screenshots/other/secret.png", b"x")
    site.run({"a": {"url": "https://a.test/", "name": "A", "picture": {"file": "screenshots/other/secret.png", "width": 9, "height": 9}}}, spider="shop")
    mail = mail_of(store, settings)
    assert pictures_in(mail) == {}


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_each_language_says_how_much_changed_and_where(language) -> None:
    words = wording(language)
    after = PagePicture("screenshots/s/b.png", 1280, 6000, "screenshots/s/a.png", 0.0342, tuple(Region(0, 1240 + 100 * n, 320, 48) for n in range(5)))
    text = picture_text(PagePicture("screenshots/s/a.png", 1280, 6000), after, words)
    assert text.count("320 ×") == 3
    assert "3.4" in text or "3,4" in text
    assert "2" in text
    assert picture_text(PagePicture("screenshots/s/other.png", 1, 1), after, words) == words.page_picture_changed


def test_channels_tell_the_change_in_words(store, settings, pages) -> None:
    pages.run(page())
    mail_of(store, settings)
    pages.run(page((0, 0, 640, 640, "red")))
    (content,) = contents_of(store, settings, "morning", [2])
    assert "Page a: 21% of the picture changed" in str(content_text(settings, content, name="morning", now=NOW, level=RENDER_LEVELS[0]))


def test_tables_contain_the_key_of_the_file() -> None:
    assert field_text(PagePicture("screenshots/s/a.png", 1, 1, "screenshots/s/b.png", 0.5, (Region(0, 0, 1, 1),)).as_json()) == "screenshots/s/a.png"


@pytest.mark.parametrize(("size", "regions", "window"), [
    ((1280, 6000), (), Region(0, 0, 1280, 1408)),
    ((1280, 6000), (Region(600, 3000, 80, 20),), Region(360, 2850, 560, 320)),
    ((1280, 6000), (Region(0, 0, 16, 16),), Region(0, 0, 560, 320)),
    ((1280, 6000), (Region(1200, 5984, 80, 16),), Region(720, 5680, 560, 320)),
    ((400, 100), (Region(0, 0, 16, 16),), Region(0, 0, 400, 100)),
    ((1280, 6000), (Region(0, 5000, 300, 300), Region(0, 0, 16, 16)), Region(0, 4952, 560, 396)),
])
def test_the_part_that_is_shown_contains_the_change(size, regions, window) -> None:
    assert window_of(size, regions) == window
