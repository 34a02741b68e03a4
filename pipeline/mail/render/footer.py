"""The footer of a digest: why a recipient gets the mail, and how to change or stop that."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.languages import Wording


@dataclass(frozen=True)
class FooterOptions:
    """What the footer of a digest offers.

    unsubscribe: https or mailto URL for unsubscribing; "" if there is none. settings_url: https URL where recipients can change what they
    receive; "" if there is none. address: address to write to in order to receive no more mails; "" if mails to it cannot arrive.
    """

    unsubscribe: str = ""
    settings_url: str = ""
    address: str = ""


@dataclass(frozen=True)
class FooterView:
    """The footer, in the form in which the templates show it.

    reason: why the recipient gets the mail. links: pairs of text and URL. stop: how to receive no more mails; "" if a link says so.
    """

    reason: str
    links: tuple[tuple[str, str], ...]
    stop: str


def footer_view(name: str, options: FooterOptions, words: Wording) -> FooterView:
    """Return the footer of a digest. name: name of the digest."""
    links = ((words.unsubscribe, options.unsubscribe), (words.settings, options.settings_url))
    stop = "" if options.unsubscribe else words.stop_write.format(address=options.address) if options.address else words.stop_ask
    return FooterView(words.footer.format(name=name), tuple(link for link in links if link[1]), stop)
