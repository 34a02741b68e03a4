"""Tests of the pictures of items in a mail.

Which field, how they are fetched, what is embedded, and what is said about the others.
"""

from __future__ import annotations

import base64
import io
import sys
import threading
import time
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from PIL import Image

from pipeline.cli.settings_check.named_files import check as named_files
from pipeline.display.formats import FieldRules
from pipeline.errors import MailError
from pipeline.mail.digests.build import build
from pipeline.mail.digests.preview import preview
from pipeline.mail.render.item_pictures import MAX_PICTURES, picture_url
from pipeline.mail.render.thumbnails import thumbnail
from pipeline.model import Change, ChangeKind
from pipeline.session.picture_fetcher import PictureFetcher
from pipeline.settings import DisplayTable
from pipeline.store.mail import digests
from tests.mail.conftest import NOW
from tests.servers.pages import Answer, Asked, PageSite

PAGE = "https://shop.test/clocks/1"


def encoded(size=(400, 300), kind="JPEG", *, mode="RGB", colour="red", **options) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, kind, **options)
    return file.getvalue()


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize(("data", "display", "url"), [
    ({"image": "https://cdn.test/a"}, {}, "https://cdn.test/a"),
    ({"image_url": "/media/a.jpg", "url": PAGE}, {}, "https://shop.test/media/a.jpg"),
    ({"coverImageUrl": "//cdn.test/a?w=200", "url": PAGE}, {}, "https://cdn.test/a?w=200"),
    ({"product_images": ["", "a.png", "b.png"], "url": PAGE}, {}, "https://shop.test/clocks/a.png"),
    ({"image": {"@type": "ImageObject", "url": "https://cdn.test/a.webp"}}, {}, "https://cdn.test/a.webp"),
    ({"图片地址": "https://cdn.test/a.jpg"}, {}, "https://cdn.test/a.jpg"),
    ({"preview": "https://cdn.test/a.JPEG?x=1"}, {}, "https://cdn.test/a.JPEG?x=1"),
    ({"look": "https://cdn.test/a"}, {"formats": {"look": "image"}}, "https://cdn.test/a"),
    ({"image": "https://cdn.test/1", "photo": "https://cdn.test/2"}, {"hide": ["image"]}, "https://cdn.test/2"),
    ({"image": "https://cdn.test/1", "photo": "https://cdn.test/2"}, {"formats": {"photo": "image"}}, "https://cdn.test/2"),
    ({"cover": "https://shop.test/letter.pdf"}, {}, None),
    ({"image": "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP"}, {}, "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP"),
    ({"image": "/s.jpg 320w, /l.jpg 640w", "url": PAGE}, {}, "https://shop.test/s.jpg"),
    ({"image": "https://cdn.test/a,b.jpg 2x"}, {}, "https://cdn.test/a,b.jpg"),
    ({"image": "/my photo.jpg", "url": PAGE}, {}, "https://shop.test/my%20photo.jpg"),
    ({"image": "/a.jpg", "url": "https://elsewhere.test/"}, {}, "https://shop.test/a.jpg"),
    ({"image": "/a.jpg"}, {}, "https://shop.test/a.jpg"),
    ({"image": "data:text/html;base64,PGI+"}, {}, None),
    ({"image": ""}, {}, None),
    ({"body": "<p>A <img alt=x class=y src='/a.jpg?x=1&amp;y=2'> b", "url": PAGE}, {}, "https://shop.test/a.jpg?x=1&y=2"),
    ({"text": "<p><img src=/a.jpg>", "url": PAGE}, {}, None),
    ({"image": "javascript:alert(1)"}, {}, None),
    ({"image": "file:///etc/passwd"}, {}, None),
    ({"image_count": 3, "imagination": "great"}, {}, None),
    ({"image": "http://[::1"}, {}, None),
])
def test_the_field_with_the_picture_is_found(data, display, url) -> None:
    rules = FieldRules({"body": "html"}, DisplayTable.model_validate(display), frozenset(["https://shop.test/"]))
    found = picture_url(Change(1, "books", "1", ChangeKind.NEW, NOW, 1, {}, data), rules)
    assert (found and found[1]) == url


def test_html_with_very_many_open_tags_is_searched_in_linear_time() -> None:
    rules = FieldRules({"body": "html"}, DisplayTable(), frozenset())
    for html in ("<img " * 1_000_000, "<img x" + " " * 1_000_000, "<img " + "a " * 500_000):
        assert picture_url(Change(1, "books", "1", ChangeKind.NEW, NOW, 1, {}, {"body": html}), rules) is None


@pytest.mark.parametrize(("content", "displayed"), [
    (encoded((4000, 1000)), (96, 24)), (encoded((10, 12), "PNG"), (10, 12)), (encoded((50, 400), "GIF", mode="P", colour=3), (12, 96)),
    (encoded((200, 200), "WEBP"), (96, 96)), (encoded((192, 192), "PNG", mode="RGBA", colour=(0, 0, 0, 0)), (96, 96)),
    (encoded((100, 100), "JPEG", mode="CMYK", colour=(0, 9, 9, 9)), (96, 96)), (encoded((100, 50), "BMP"), (96, 48)),
    (encoded((100, 60), "PNG", mode="I;16", colour=900), (96, 58)),
])
def test_a_picture_is_encoded_anew_as_a_small_jpeg_or_png(content, displayed) -> None:
    small = thumbnail(content)
    assert (small.width, small.height) == displayed
    assert max(opened(small.content).size) <= 192
    assert small.content_type in ("image/jpeg", "image/png")
    assert len(small.content) < 5000


def test_a_picture_is_upright_still_on_white_and_has_no_metadata() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "secret place"  # orientation: turn right; description
    for size in ((400, 200), (2000, 1000)):
        turned = thumbnail(encoded(size, exif=exif))
        assert (turned.width, turned.height) == (48, 96)
        assert b"secret place" not in turned.content
    frames = [Image.new("RGB", (100, 100), colour) for colour in ("red", "blue")]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    still = opened(thumbnail(file.getvalue()).content)
    assert getattr(still, "n_frames", 1) == 1
    clear = opened(thumbnail(encoded((100, 100), "PNG", mode="RGBA", colour=(0, 0, 0, 0))).content)
    assert clear.convert("RGB").getpixel((50, 50)) == (255, 255, 255)


@pytest.mark.parametrize(("content", "reason"), [
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"), (b"\n<!DOCTYPE html><p>log in", "web pages"), (b"", "no picture"),
    (b"%PDF-1.4", "no picture"), (encoded()[:300], "decoded"), (encoded((1, 1), "GIF", mode="P", colour=1), "only 1 x 1"),
    (encoded((6000, 6000), "PNG", mode="1", colour=1), "6000 x 6000"), (encoded((50, 50), "TIFF"), "no picture"),
    (encoded((50, 50), "PNG")[:70], "decoded"),
])
def test_what_is_no_picture_or_a_decompression_bomb_is_refused_with_the_reason(content, reason) -> None:
    with pytest.raises(MailError, match=reason):
        thumbnail(content)


def mail_of(store, settings, *, slot="s1", fetch=None) -> EmailMessage:
    claim = digests.claim(store, "morning", ["books"], slot, owner="test", now=datetime.now(UTC))
    assert claim is not None
    build(store, settings, claim, owner="test", now=datetime.now(UTC), fetch_pictures=fetch or PictureFetcher(store, settings))
    mail = message_from_bytes(store.files.path(f"messages/{claim.id}-1.eml").read_bytes(), policy=policy.default)
    assert isinstance(mail, EmailMessage)
    return mail


def shown(mail: EmailMessage) -> tuple[str, list[EmailMessage]]:
    html = mail.get_body(("html",)).get_content()
    return html, [part for part in mail.walk() if part.get_content_maintype() == "image"]


def with_pictures(settings_from, site, *, digest="", spider=""):
    settings = settings_from(digest=f"images = true\n{digest}")
    path = settings.folder / "settings.toml"
    path.write_text(path.read_text().replace('start = "http://site.test/"', f'start = "{site.url}/"\ndelay = "0s"\n{spider}'))
    from pipeline.settings import load

    return load(path)


def test_pictures_are_fetched_with_the_session_embedded_and_not_fetched_again(store, site, settings_from, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("COOKIE", "sid=1")
    red, blue = encoded(), encoded(colour="blue")
    with PageSite({"/1.jpg": Answer(red), "/2.jpg": Answer(blue), "/robots.txt": Answer("User-agent: *\nDisallow: /secret")}) as server:
        settings = with_pictures(settings_from, server, spider='headers = { X-Member = "yes" }\ncookies = { header = { env = "COOKIE" } }')
        site.run({str(n): {"title": f"Clock {n}", "url": f"{server.url}/c/{n}", "image": f"/{n}.jpg"} for n in (1, 2)})
        preview(store, settings, "morning", tmp_path / "preview", now=NOW, fetch_pictures=PictureFetcher(store, settings))
        assert "data:image/jpeg;base64," in (tmp_path / "preview" / "morning.html").read_text()
        assert not store.files.path("pictures").exists()
        html, parts = shown(mail_of(store, settings))
        seen = {request.path: request for request in server.asked}
        fetched = len(server.asked)
        site.run({"1": {"title": "Clock one", "url": f"{server.url}/c/1", "image": "/1.jpg"}})
        again, _ = shown(mail_of(store, settings, slot="s2"))
        assert len(server.asked) == fetched
    assert [part["Content-ID"].strip("<>") for part in parts] == ["picture-1@example.com", "picture-2@example.com"]
    assert all(f'src="cid:{part["Content-ID"].strip("<>")}"' in html for part in parts)
    assert 'alt="picture: Clock 1"' in html
    assert "cid:picture-3@example.com" in again
    assert seen["/1.jpg"].headers["X-Member"] == "yes"
    assert seen["/1.jpg"].headers["Cookie"] == "sid=1"
    assert seen["/1.jpg"].headers["Referer"] == f"{server.url}/"
    assert "http" not in "".join(part.split('"')[0] for part in html.split('src="')[1:])  # nothing remote


@pytest.mark.parametrize(("language", "said"), [("en", "could not be loaded"), ("zh", "张图片无法加载"), ("de", "konnten nicht geladen werden")])
def test_what_cannot_be_shown_is_said_in_one_line(language, said, store, site, settings_from) -> None:
    answers = {"/ok.jpg": Answer(encoded()), "/missing.jpg": Answer("no", 404), "/login.jpg": Answer("<html>log in"),
               "/large.jpg": Answer(b"x" * 5_100_000), "/robots.txt": Answer("User-agent: *\nDisallow: /secret")}
    names = ["ok", "missing", "login", "large", "secret/1"]
    pixel = "data:image/png;base64," + base64.b64encode(encoded((1, 1), "PNG")).decode()
    with PageSite(answers) as server:
        settings = with_pictures(settings_from, server, digest=f'language = "{language}"')
        items = {name: {"title": name, "url": f"{server.url}/", "image": f"/{name}.jpg"} for name in names}
        items["pixel"] = {"title": "lazy", "image": pixel}
        items["private"] = {"title": "private", "image": "http://169.254.169.254/latest.jpg"}
        site.run(items)
        mail = mail_of(store, settings)
        assert "/secret/1.jpg" not in [request.path for request in server.asked]
    html, parts = shown(mail)
    assert len(parts) == 1
    for text in (html, mail.get_body(("plain",)).get_content()):
        line, = [line for line in text.splitlines() if said in line]
        assert "6" in line
        assert "404" in line


def test_a_slow_or_silent_server_delays_a_digest_by_no_more_than_the_limit(store, site, settings_from, monkeypatch) -> None:
    monkeypatch.setattr("pipeline.mail.render.item_pictures.LIMIT_S", 1.0)

    ended = threading.Event()

    def slow(asked: Asked) -> Answer:
        ended.wait(60)
        return Answer(encoded())

    with PageSite({"/ok.jpg": Answer(encoded()), "/slow.jpg": slow}) as server:
        settings = with_pictures(settings_from, server, spider="robots = false")
        site.run({str(n): {"title": str(n), "image": f"{server.url}/{'slow' if n % 2 else 'ok'}.jpg?{n}"} for n in range(20)})
        begun = time.monotonic()
        mail = mail_of(store, settings)
        assert time.monotonic() - begun < 40
        ended.set()
    html, _ = shown(mail)
    assert "did not arrive within 1 s" in html


def test_without_pillow_the_mail_says_what_to_install(store, site, settings_from, monkeypatch) -> None:
    content = encoded()
    monkeypatch.setitem(sys.modules, "PIL", None)
    with PageSite({"/a.png": Answer(content)}) as server:
        settings = with_pictures(settings_from, server, spider="robots = false")
        site.run({"1": {"title": "A", "image": f"{server.url}/a.png"}})
        html, parts = shown(mail_of(store, settings))
    assert parts == []
    assert "pip install" in html
    assert ">A<" in html
    remark, = [each for each in named_files(settings) if each.key == "digests.morning.images"]
    assert "pip install 'crawl-to-inbox[images]'" in remark.fix


def test_a_mail_has_a_limited_number_of_pictures_and_says_how_many_are_left_out(store, site, settings_from) -> None:
    with PageSite({"/a.png": Answer(encoded((64, 64), "PNG"))}) as server:
        settings = with_pictures(settings_from, server, spider="robots = false")
        site.run({str(n): {"title": str(n), "url": f"{server.url}/{n}", "image": f"{server.url}/a.png"} for n in range(MAX_PICTURES + 5)})
        html, parts = shown(mail_of(store, settings))
        assert len([request for request in server.asked if request.path == "/a.png"]) == 1
    assert len(parts) == 1
    assert html.count("<img") == MAX_PICTURES
    assert "5 more pictures are not shown" in html
