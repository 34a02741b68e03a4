"""Tests of messages for one recipient each, settings of groups, and links for unsubscribing."""

from __future__ import annotations

from email.message import EmailMessage

import pytest

from pipeline.errors import SettingsError
from pipeline.mail.digests.build import BuiltDigest
from tests.mail.conftest import built, text_of
from tests.mail.test_recipients import BOOKS, mails


def sent(store, result: BuiltDigest) -> dict[str, EmailMessage]:
    """The mail that each address gets."""
    return {address: mail for mail, recipients in mails(store, result) for address in recipients}


@pytest.mark.parametrize(("keys", "link"), [
    ("individually = true", ""),
    ('individually = true\nunsubscribe = "https://lists.test/u?x={recipient}"', "https://lists.test/u?x=me%2Bnews%40example.com"),
    ('unsubscribe = "https://lists.test/{recipient}/u"', "https://lists.test/me%2Bnews%40example.com/u"),
    ('unsubscribe = "mailto:list@lists.test?subject=off%20{recipient}"', "mailto:list@lists.test?subject=off%20me%2Bnews%40example.com")])
def test_each_recipient_gets_a_message_of_their_own(keys, link, store, site, settings_from) -> None:
    settings = settings_from(to='["Me <me+news@example.com>", "jürgen@example.com", "me+news@example.com"]',
                             digest=f'attach = ["csv"]\ncc = ["you@example.com"]\nbcc = ["silent@example.com"]\n{keys}\n')
    site.run(BOOKS)
    result = built(store, settings)
    found = sent(store, result)
    assert {address: (str(mail["To"]), mail["Cc"]) for address, mail in found.items()} == {
        "me+news@example.com": ("Me <me+news@example.com>", None), "jürgen@example.com": ("jürgen@example.com", None),
        "you@example.com": ("you@example.com", None), "silent@example.com": ("silent@example.com", None)}
    assert len({mail["Message-ID"] for mail in found.values()}) == 4
    assert len(result.html_keys) == 1  # a page for each recipient would only take space
    page = store.files.path(result.html_keys[0]).read_text("utf-8")
    assert "%40example.com" not in page  # a person who opens the page must not unsubscribe a recipient
    assert "recipient-" not in page
    mail = found["me+news@example.com"]
    assert mail["List-Unsubscribe"].startswith(f"<{link or 'mailto:pipeline@example.com?subject=unsubscribe%20morning'}>")
    assert mail["List-Unsubscribe-Post"] == ("List-Unsubscribe=One-Click" if link.startswith("https:") else None)
    for kind in ("plain", "html"):
        assert (link or "To unsubscribe, write to pipeline@example.com.") in text_of(mail, kind)
        assert "news" not in text_of(found["you@example.com"], kind)
    assert [part.get_filename() for part in found["silent@example.com"].iter_attachments()] == ["morning-2026-11-22.csv"]


def test_a_group_has_its_own_language_time_zone_and_link_for_unsubscribing(store, site, settings_from) -> None:
    settings = settings_from(digest="""timezone = "America/New_York"
unsubscribe = "https://lists.test/all"
settings_url = "https://lists.test/settings"
[[digests.morning.groups]]
to = ["zh@example.com", "zh2@example.com"]
language = "zh"
timezone = "Asia/Shanghai"
unsubscribe = "https://lists.test/{recipient}"
[[digests.morning.groups]]
to = ["a@example.com", "b@example.com"]
individually = true
""")
    site.run(BOOKS)
    found = sent(store, built(store, settings))
    assert {address: (str(mail["To"]), mail["Date"][-5:], mail["List-Unsubscribe"].partition(">")[0][1:]) for address, mail in found.items()} == {
        "me@example.com": ("me@example.com", "-0500", "https://lists.test/all"),
        "zh@example.com": ("zh@example.com", "+0800", "https://lists.test/zh%40example.com"),
        "zh2@example.com": ("zh2@example.com", "+0800", "https://lists.test/zh2%40example.com"),
        "a@example.com": ("a@example.com", "-0500", "https://lists.test/all"), "b@example.com": ("b@example.com", "-0500", "https://lists.test/all")}
    assert text_of(found["me@example.com"]).splitlines()[-2:] == ["Unsubscribe: https://lists.test/all", "Settings: https://lists.test/settings"]
    assert text_of(found["zh2@example.com"]).splitlines()[-2:] == ["退订：https://lists.test/zh2%40example.com", "设置：https://lists.test/settings"]
    assert "2026-11-22 15:01" in text_of(found["zh@example.com"])


@pytest.mark.parametrize(("sender", "says"), [
    ("", "To unsubscribe, write to pipeline@example.com."), ('reply_to = "Desk <desk@example.com>"', "write to desk@example.com."),
    ('from = "pipeline@localhost"', "To unsubscribe, ask the person who set up this digest.")])
def test_the_footer_says_how_to_receive_no_more_mails(sender, says, store, site, settings_from) -> None:
    settings = settings_from(mail=sender)
    site.run(BOOKS)
    mail = sent(store, built(store, settings))["me@example.com"]
    assert says in text_of(mail)
    assert says in text_of(mail, "html")


@pytest.mark.parametrize(("url", "says"), [
    ("http://x.test/u", "must use https"), ("https://x.test/{adress}", r"'?\{adress\}'? is not a placeholder.*\{recipient\}"),
    ("https://{recipient}.x.test/", "only in the path or in the query"), ("https://x.test/#{recipient}", "only in the path or in the query"),
    ("https://x.test/a b", "contains the character ' '; write %20 instead"), ("https://x.test/a>b", "write %3E instead"),
    ("https://x.test/ü", "write %C3%BC instead"), ("mailto:", "has no e-mail address"), ("mailto:{recipient}@x.test", "only after the `\\?`"),
    ("https://x.test/" + "a" * 500, "the maximum is 500"), ("https:///u", "must use https")])
def test_a_link_for_unsubscribing_that_cannot_work_is_an_error(url, says, settings_from) -> None:
    with pytest.raises(SettingsError, match=rf"digests.morning.unsubscribe: .*{says}"):
        settings_from(digest=f'unsubscribe = "{url}"')


def test_attachments_of_individual_messages_are_limited_together(store, site, settings_from, monkeypatch) -> None:
    monkeypatch.setattr("pipeline.mail.digests.renderer.COPIED_BYTES", 30_000)
    for to, attached in (('["a@example.com"]', ["a.bin"]), ('["a@example.com", "b@example.com"]', [])):
        settings = settings_from(to=to, digest='attach = ["downloads"]\noversize = "split"\nindividually = true')
        site.run(BOOKS, files=[("a.bin", b"a" * 20_000, "application/x-a")])
        mail = sent(store, built(store, settings, slot=to))["a@example.com"]
        assert [part.get_filename() for part in mail.iter_attachments()] == attached
        assert ("stored as downloads/books/2-a.bin" in text_of(mail)) is (not attached)
