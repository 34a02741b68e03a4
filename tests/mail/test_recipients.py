"""Tests of groups, filters, quiet hours, time zones, `empty`, `oversize` and charts of digests."""

from __future__ import annotations

import csv
import email
import io
import re
import zipfile
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import default
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SettingsError, UsageError
from pipeline.mail.digests.build import BuiltDigest, build
from pipeline.mail.digests.preview import preview
from pipeline.mail.filters import number, passes
from pipeline.mail.render.file_view import FileLinks
from pipeline.model import Change, ChangeKind, Outcome
from pipeline.price import price
from pipeline.settings import GroupTable
from pipeline.store.database.schema import download_files
from pipeline.store.mail import digests
from pipeline.store.mail import outbox as stored
from tests.mail.conftest import NOW, built, text_of

BOOKS = {"1": {"title": "Three-Body", "price": "£51.77", "url": "https://books.test/1"},
         "2": {"title": "Python Cookbook", "price": "£9.50", "url": "https://books.test/2"}}


def mails(store, result: BuiltDigest) -> list[tuple[EmailMessage, tuple[str, ...]]]:
    """Each mail of a digest, and who gets it."""
    found = []
    for message_id in result.message_ids:
        message, _, _ = stored.get(store, message_id)
        content = store.files.path(message.file_key).read_bytes()
        found.append((email.message_from_bytes(content, policy=default), message.recipients))
    return found


def test_each_group_gets_a_mail_with_the_changes_that_pass_its_filter(store, site, settings_from) -> None:
    settings = settings_from(spiders=("books", "news"), digest="""
[[digests.morning.groups]]
to = ["cheap@example.com"]
bcc = ["silent@example.com"]
where = ["price < 10"]
[[digests.morning.groups]]
cc = ["news@example.com"]
spiders = ["news"]
[[digests.morning.groups]]
bcc = ["nobody@example.com"]
keywords = ["no such word"]
""")
    site.run(BOOKS)
    site.run({"9": {"title": "Headline"}}, spider="news", files=[("a.txt", b"a", "text/plain")])
    (all_, to_all), (cheap, to_cheap), (news, to_news) = mails(store, built(store, settings))
    assert all_["Subject"] == "New: Three-Body, Python Cookbook, Headline; 1 downloaded"
    assert to_all == ("me@example.com",)
    assert cheap["Subject"] == "New: Python Cookbook — £9.50"
    assert set(to_cheap) == {"cheap@example.com", "silent@example.com"}
    assert "silent" not in cheap.as_string()
    assert news["Subject"] == "New: Headline; 1 downloaded"
    assert (news["To"], news["Cc"], to_news) == (None, "news@example.com", ("news@example.com",))
    assert len({mail["Message-ID"] for mail in (all_, cheap, news)}) == 3


def test_tags_select_the_spiders_that_have_them(store, site, settings_from) -> None:
    settings = settings_from(spiders=("books",), to='["me@example.com"]', digest="""
tags = ["shop"]
[[digests.morning.groups]]
to = ["team@example.com"]
tags = ["cheap"]
[spiders.shop]
start = "http://shop.test/"
tags = ["shop", "cheap"]
[spiders.other]
start = "http://other.test/"
tags = ["none of ours", "elsewhere"]
""")
    assert settings.digests["morning"].spiders == ("books", "shop")
    assert settings.digests["morning"].groups[0].spiders == ("shop",)
    site.run(BOOKS)
    site.run({"9": {"title": "Mug"}}, spider="shop")
    site.run({"9": {"title": "Not ours"}}, spider="other")
    (all_, _), (team, to_team) = mails(store, built(store, settings))
    assert all_["Subject"] == "New: Three-Body, Python Cookbook, Mug"
    assert (team["Subject"], to_team) == ("New: Mug", ("team@example.com",))


@pytest.mark.parametrize(("table", "says"), [
    ('tags = ["shpo"]', r"digests.morning.tags: no spider has the tag 'shpo'.*known: shop"),
    ('[[digests.morning.groups]]\nto = ["a@b.c"]\ntags = ["shop"]',
     r"digests.morning.groups\[0\].tags: no spider of the digest has the tag 'shop'; known: none")])
def test_a_tag_without_a_spider_is_an_error(table, says, settings_from) -> None:
    with pytest.raises(SettingsError, match=says):
        settings_from(digest=table + '\n[spiders.shop]\nstart = "http://shop.test/"\ntags = ["shop"]\n')


def test_only_hidden_recipients_show_as_undisclosed(store, site, settings_from) -> None:
    settings = settings_from(to="[]", digest='bcc = ["a@example.com", "b@example.com"]')
    site.run(BOOKS)
    (mail, recipients), = mails(store, built(store, settings))
    assert mail["To"] == "undisclosed-recipients:;"
    assert set(recipients) == {"a@example.com", "b@example.com"}
    assert "a@example.com" not in mail.as_string()


def test_problems_can_be_excluded_for_a_group(store, site, settings_from) -> None:
    settings = settings_from(to="[]", digest='[[digests.morning.groups]]\nto = ["a@example.com"]\nproblems = false\n'
                             '[[digests.morning.groups]]\nto = ["ops@example.com"]\n')
    site.run(None, outcome=Outcome.FAILED, error="no login")
    (mail, recipients), = mails(store, built(store, settings))
    assert recipients == ("ops@example.com",)
    assert mail["Subject"] == "books failed"


def change(kind: ChangeKind = ChangeKind.NEW, *, before=None, **after) -> Change:
    return Change(1, "books", "k", kind, NOW, 1, before or {}, after)


@pytest.mark.parametrize(("where", "after", "expected"), [
    ("price < 100", {"price": "£51.77"}, True), ("price < 100", {"price": "¥1,299"}, False),
    ("price <= 51.77", {"price": 51.77}, True), ("price > 100", {"price": "1.234,50 €"}, True),
    ("price < 100", {}, False), ("price < 100", {"price": "sold out"}, False), ("stock = 3", {"stock": "3 left"}, True),
    ("stock = 'In stock'", {"stock": " in stock "}, True), ("stock != sold out", {}, True),
    ("title ~ python", {"title": "Learning Python"}, True), ("title !~ python", {"title": "Learning Python"}, False),
    ("价格 >= 50", {"价格": "¥93.00"}, True), ("year ~ 7", {"year": "2017"}, True)])
def test_conditions_read_numbers_from_prices_and_ignore_the_case_of_texts(where, after, expected) -> None:
    assert passes(change(**after), GroupTable(to=("a@b.c",), where=(where,))) is expected


def test_a_condition_distinguishes_a_price_that_fell_from_one_that_rose() -> None:
    fell = GroupTable(to=("a@b.c",), where=("price < before",))
    assert passes(change(ChangeKind.CHANGED, before={"price": "£50"}, price="£45"), fell)
    assert not passes(change(ChangeKind.CHANGED, before={"price": "£50"}, price="£55"), fell)
    assert not passes(change(price="£55"), fell)


def test_kinds_and_keywords_filter_gone_items_by_their_last_values() -> None:
    gone = change(ChangeKind.GONE, before={"title": "Python"})
    assert passes(gone, GroupTable(to=("a@b.c",), keywords=("java", "PYTHON")))
    assert not passes(gone, GroupTable(to=("a@b.c",), changes=("new", "back")))


@given(st.one_of(st.none(), st.booleans(), st.floats(), st.text(), st.lists(st.text())))
def test_any_value_has_a_number_or_none(value) -> None:
    found = number(value)
    assert found is None or isinstance(found, float)


@pytest.mark.parametrize(("table", "says"), [
    ('where = ["price <"]', r"digests.morning.where\[0\]: 'price <' is not a condition"),
    ('where = ["price < cheap"]', "< compares numbers, and 'cheap' is not a number"),
    ('quiet = "25:00-1"', "are not quiet hours"),
    ('unsubscribe = "http://example.com/u"', "the URL for one-click unsubscribing must use https"),
    ('[[digests.morning.groups]]\nspiders = ["news"]\nto = ["a@b.c"]', "the digest of this group has no spider 'news'"),
    ("[[digests.morning.groups]]\nkeywords = [\"x\"]", "the group has no recipients; add an address to `to`, `cc` or `bcc`")])
def test_an_error_in_a_filter_names_its_key(table, says, settings_from) -> None:
    with pytest.raises(SettingsError, match=says):
        settings_from(digest=table)


def test_with_empty_send_a_mail_says_nothing_new_even_without_a_run(store, site, settings_from) -> None:
    settings = settings_from(digest='empty = "send"')
    site.run(BOOKS)
    built(store, settings)
    site.run(BOOKS)
    (mail, _), = mails(store, built(store, settings, slot="s2"))
    assert mail["Subject"] == "Nothing new: books"
    claim = digests.claim(store, "morning", ["books"], "s3", owner="me", now=NOW, scheduled=True, even_empty=True)
    assert claim is not None
    assert claim.run_ids == ()
    (mail, _), = mails(store, build(store, settings, claim, owner="me", now=NOW))
    assert mail["Subject"] == "Nothing new: books"
    assert "Checked:\r\n  books: 1 page, 2 items, Sun 22 Nov 2026 07:02" in text_of(mail)
    assert digests.claim(store, "morning", ["books"], "s3", owner="me", now=NOW, scheduled=True, even_empty=True) is None


@pytest.mark.parametrize(("at", "ends"), [
    ("2026-11-22T13:59", None), ("2026-11-22T14:00", "2026-11-22T23:00"), ("2026-11-22T22:59", "2026-11-22T23:00"),
    ("2026-11-22T23:00", None)])
def test_quiet_hours_use_the_time_zone_of_the_digest(at, ends, settings_from) -> None:
    table = settings_from(digest='quiet = "22:00-07:00"\ntimezone = "Asia/Shanghai"').digests["morning"]
    found = table.quiet_until(datetime.fromisoformat(at).replace(tzinfo=UTC), ZoneInfo("America/New_York"))
    assert found == (datetime.fromisoformat(ends).replace(tzinfo=UTC) if ends else None)


def test_quiet_hours_within_a_day_and_over_a_change_of_clocks_end_in_the_future(settings_from) -> None:
    table = settings_from(digest='quiet = "01:00-03:00"\ntimezone = "Europe/Berlin"').digests["morning"]
    berlin = ZoneInfo("Europe/Berlin")
    moment = datetime(2026, 10, 24, 22, tzinfo=UTC)
    while moment < datetime(2026, 10, 25, 4, tzinfo=UTC):
        end = table.quiet_until(moment, berlin)
        assert (end is not None) == (1 <= moment.astimezone(berlin).hour < 3)
        assert end is None or end > moment
        moment += timedelta(minutes=7)


def test_times_in_a_mail_use_the_time_zone_of_the_digest(store, site, settings_from) -> None:
    settings = settings_from(digest='timezone = "Asia/Shanghai"')
    site.run(BOOKS)
    (mail, _), = mails(store, built(store, settings))
    assert mail["Date"].endswith("+0800")
    assert "Sun 22 Nov 2026 15:01" in text_of(mail)


def test_with_oversize_split_what_does_not_fit_is_sent_in_further_mails(store, site, settings_from) -> None:
    settings = settings_from(digest='attach = ["downloads"]\nattach_limit = "10kB"\noversize = "split"\nthread = true')
    site.run(BOOKS, files=[("a.bin", b"a" * 7000, "application/x-a"), ("b.bin", b"b" * 7000, "application/x-b"),
                           ("c.bin", b"c" * 2000, "application/x-c"), ("d.bin", b"d" * 20_000, "application/x-d")])
    (first, to_first), (second, to_second) = mails(store, built(store, settings))
    assert [first["Subject"][-6:], second["Subject"][-6:]] == [" (1/2)", " (2/2)"]
    assert [part.get_filename() for part in first.iter_attachments()] == ["a.bin", "c.bin"]
    attached, = second.iter_attachments()
    assert (attached.get_filename(), attached.get_content()) == ("b.bin", b"b" * 7000)
    assert to_first == to_second
    text = text_of(first)
    assert "b.bin (BIN file · 7 kB · attached to mail 2 of 2)" in text
    assert "d.bin (BIN file · 20 kB · too large to attach · stored as downloads/books/1-d.bin in the data folder)" in text
    assert "this is mail 2" in text_of(second)
    assert first["References"] == second["References"] == "<morning.thread@example.com>"


def test_with_oversize_zip_what_does_not_fit_is_zipped(store, site, settings_from) -> None:
    settings = settings_from(digest='attach = ["downloads"]\nattach_limit = "10kB"\noversize = "zip"')
    site.run(BOOKS, files=[("a.txt", b"a" * 70_000, "text/plain")])
    (mail, _), = mails(store, built(store, settings))
    attached, = mail.iter_attachments()
    assert (attached.get_filename(), attached.get_content_type()) == ("a.txt.zip", "application/zip")
    assert f"a.txt.zip (ZIP archive · {len(attached.get_content())} B · attached)" in text_of(mail)


def test_with_csv_bom_a_csv_begins_with_a_byte_order_mark(store, site, settings_from) -> None:
    settings = settings_from(digest='attach = ["csv"]\ncsv_bom = true')
    site.run(BOOKS)
    (mail, _), = mails(store, built(store, settings))
    assert next(mail.iter_attachments()).get_payload(decode=True).startswith(b'\xef\xbb\xbf"change"')


def test_a_chart_shows_a_price_over_time_and_says_the_same_in_words(store, site, settings_from) -> None:
    pytest.importorskip("resvg_py")
    settings = settings_from(digest='charts = ["price"]\nattach = ["csv"]')
    for text in ("£51.77", "£45.00", "£60.00"):
        site.run({"1": BOOKS["1"] | {"price": text}})
    built(store, settings)
    site.run({"1": BOOKS["1"] | {"price": "£41.00"}})
    result = built(store, settings, slot="s2")
    (mail, _), = mails(store, result)
    told = "price since 22 Nov 2026, 07:01: £51.77 → £41.00, lowest £41.00, highest £60.00"
    assert told in text_of(mail)
    html = text_of(mail, "html")
    assert f'alt="{told}"' in html
    assert re.findall(r'class="axis"[^>]*>(?:<bdi>)?([^<]+)<', html) == ["£60.00", "£41.00", "22 Nov 2026, 07:01", "07:04"]
    cid = re.search(r'src="cid:([^"]+)"', html)
    assert cid is not None
    picture, = [part for part in mail.walk() if part.get_content_type() == "image/png"]
    assert picture["Content-ID"] == f"<{cid[1]}>"
    assert picture.get_content().startswith(b"\x89PNG")
    assert [part.get_content_type() for part in mail.walk() if part.is_multipart()] == [
        "multipart/mixed", "multipart/alternative", "multipart/related"]
    assert "data:image/png;base64," in store.files.path(result.html_keys[0]).read_text("utf-8")


def priced(amount: float, currency: str, text: str) -> dict[str, object]:
    return {"title": "Kettle", "price": price(amount, currency, text), "url": "https://books.test/kettle"}


def test_a_price_is_shown_as_the_site_writes_it_in_text_html_and_chart(store, site, settings_from) -> None:
    pytest.importorskip("resvg_py")
    settings = settings_from(digest='charts = ["price"]')
    for at in ((1299, "EUR", "1.299,-- €"), (1349.5, "EUR", "1.349,50 €"), (1500, "USD", "$1,500")):
        site.run({"1": priced(*at)})
    built(store, settings)
    site.run({"1": priced(999, "EUR", "999,-- €")})
    (mail, _), = mails(store, built(store, settings, slot="s2"))
    assert "price: $1,500 → 999,-- €" in text_of(mail)
    assert re.search(r"price since [^:]+:\d\d: 1\.299,-- € → 999,-- €, lowest 999,-- €, highest 1\.349,50 €", text_of(mail))
    assert re.search(r"line-through[^>]*>\$1,500<.*?>999,-- €<", text_of(mail, "html"), re.DOTALL)


def test_tables_have_a_price_as_number_and_currency_and_groups_can_filter_it(store, site, settings_from) -> None:
    settings = settings_from(digest='attach = ["csv", "xlsx"]\n[[digests.morning.groups]]\nto = ["cheap@example.com"]\n'
                                    'where = ["price < 20"]\n')
    dear, cheap = priced(1299, "EUR", "1.299,-- €"), priced(12.99, "GBP", "£12.99") | {"title": "Pencil"}
    site.run({"dear": dear, "cheap": cheap})
    built(store, settings)
    site.run({"dear": priced(999, "EUR", "999,-- €"), "cheap": cheap | {"price": price(11, "GBP", "£11")}})
    found = {recipients[0].rpartition("<")[2].rstrip(">"): mail for mail, recipients in mails(store, built(store, settings, slot="s2"))}
    assert len(found) == 2
    own = found.pop("cheap@example.com")
    assert "£12.99 → £11" in text_of(own)
    assert "999" not in text_of(own)
    parts = {part.get_filename().rpartition(".")[2]: part.get_payload(decode=True) for part in found.popitem()[1].iter_attachments()}
    rows = {row["key"]: row for row in csv.DictReader(io.StringIO(parts["csv"].decode(), newline=""))}
    assert [rows["dear"][name] for name in ("price", "price (currency)", "price (before)")] == ["999", "EUR", "1299"]
    with zipfile.ZipFile(io.BytesIO(parts["xlsx"])) as book:
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
    assert {"999", "1299", "11", "12.99"} <= set(re.findall(r"<c r=\"[A-Z]+\d+\"><v>([^<]+)</v>", sheet))
    assert {"EUR", "GBP", "price (currency)"} <= set(re.findall(r"<t>([^<]*)</t>", sheet)) | set(re.findall(
        r"<t[^>]*>([^<]*)</t>", sheet))


def test_custom_templates_replace_the_built_in_ones_and_are_sandboxed(store, site, settings_from, tmp_path) -> None:
    settings = settings_from(digest='templates = "mine"')
    site.run(BOOKS)
    with pytest.raises(UsageError, match="the templates folder does not exist"):
        preview(store, settings, "morning", tmp_path / "look", now=NOW)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "digest.txt").write_text("MINE {{ summary }}", "utf-8")
    (mail, _), = mails(store, built(store, settings))
    assert text_of(mail).strip() == "MINE 2 new"
    assert "Three-Body" in text_of(mail, "html")
    (tmp_path / "mine" / "digest.txt").write_text("{{ ''.__class__.__mro__ }}", "utf-8")
    with pytest.raises(UsageError, match=r"digest.txt, line 1: the template cannot be rendered"):
        preview(store, settings, "morning", tmp_path / "look", now=NOW, since=NOW - timedelta(days=1))


def test_a_preview_shows_the_mail_of_each_group(store, site, settings_from, tmp_path) -> None:
    settings = settings_from(digest='[[digests.morning.groups]]\nto = ["cheap@example.com"]\nwhere = ["price < 10"]\n')
    site.run(BOOKS)
    paths = preview(store, settings, "morning", tmp_path / "look", now=NOW)
    assert [path.name for path in paths] == ["morning.eml", "morning.html", "morning.txt",
                                             "morning-2.eml", "morning-2.html", "morning-2.txt"]
    assert "Three-Body" not in paths[5].read_text("utf-8")


def test_addresses_outside_ascii_get_a_message_of_their_own(store, site, settings_from) -> None:
    settings = settings_from(to='["me@example.com", "Jürgen <me@bücher.example>", "用户@example.com"]')
    site.run(BOOKS)
    (ascii_, to_ascii), (other, to_other) = mails(store, built(store, settings))
    assert set(to_ascii) == {"me@example.com", "me@xn--bcher-kva.example"}
    assert to_other == ("用户@example.com",)
    assert "用户" not in str(ascii_["To"])
    assert ascii_["Message-ID"] != other["Message-ID"]
    assert text_of(ascii_) == text_of(other)


@pytest.mark.parametrize(("names", "shown"), [
    (["report.pdf", "report.pdf"], ["report.pdf", "report (2).pdf"]),
    (["a/b.pdf", "A_B.pdf"], ["a_b.pdf", "A_B (2).pdf"]),
])
def test_the_list_of_downloads_has_the_names_of_the_attachments(names, shown, store, site, settings_from) -> None:
    settings = settings_from(digest='attach = ["downloads"]')
    site.run(BOOKS)
    files = [(name.replace("/", "_") + str(number), b"%PDF", "application/pdf") for number, name in enumerate(names)]
    site.run(BOOKS, files=files)
    with store.write() as connection:
        for number, name in enumerate(names, 1):
            connection.execute(download_files.update().where(download_files.c.id == number).values(name=name))
    (mail, _), = mails(store, built(store, settings))
    assert [part.get_filename() for part in mail.iter_attachments()] == shown
    assert all(f"* {name} (" in text_of(mail) for name in shown)


@pytest.mark.parametrize(("url", "shown"), [
    ("https://me:pw@x.test/a#rendered.png", "https://x.test/a"), ("https://x.test/#/p#rendered.pdf", "https://x.test/#/p"),
    ("https://x.test/a#top", "https://x.test/a"), ("https://x.test/?token=s", "")])
def test_a_file_of_a_page_links_to_the_page_with_its_route(url, shown) -> None:
    assert FileLinks().public(url) == shown


def test_of_several_versions_of_a_file_only_the_newest_is_attached(store, site, settings_from) -> None:
    settings = settings_from(digest='attach = ["downloads"]')
    for content in (b"first", b"second", b"third"):
        site.run(BOOKS, files=[("page.png", content, "image/png"), ("terms.pdf", b"%PDF", "application/pdf")][:1 + (content == b"third")])
    with store.write() as connection:  # each version has the URL of the file
        connection.execute(download_files.update().values(url="https://books.test/" + download_files.c.name))
    (mail, _), = mails(store, built(store, settings))
    assert sorted((part.get_filename(), part.get_content()) for part in mail.iter_attachments()) == [("page.png", b"third"), ("terms.pdf", b"%PDF")]
    assert "2 older versions of files are not attached" in text_of(mail)
    assert text_of(mail).count("page.png") == 1 + text_of(mail).count("/page.png")
    assert "and 2 older versions" in text_of(mail)


@pytest.mark.parametrize(("name", "attached"), [
    ("setup.exe", False), ("run.PS1", False), ("macro.js.", False), ("app.jar", False), ("shortcut.lnk ", False),
    ("notes.txt", True), ("photo.jpeg", True), ("exe", True), ("data.tar.gz", True), ("letter.docx", True)])
def test_programs_and_scripts_are_attached_only_if_the_digest_says_so(  # noqa: PLR0917  pytest hands them in by name
        name, attached, store, site, settings_from, tmp_path) -> None:
    site.run(BOOKS, files=[(name, b"x", "application/octet-stream")])
    for setting, expected in (("", attached), ("attach_programs = true", True)):
        settings = settings_from(digest=f'attach = ["downloads"]\n{setting}')
        mail = email.message_from_bytes(preview(store, settings, "morning", tmp_path / "look", now=NOW)[0].read_bytes(), policy=default)
        assert bool(list(mail.iter_attachments())) is expected
        assert ("programs and scripts" in text_of(mail)) is not expected
