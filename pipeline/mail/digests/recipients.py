"""Divide the recipients of a digest or of a group among messages."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from urllib.parse import quote

from pipeline.mail.message import compose
from pipeline.settings import RECIPIENT, DigestTable, Settings
from pipeline.settings.fields.addresses import bare_address


def tables_of_messages(table: DigestTable) -> Iterator[DigestTable]:
    """Yield, for each message, the table with only the recipients of this message.

    If the table is individual, each address gets a message of its own, addressed to it alone, also those in `cc` and `bcc`. Otherwise, the
    addresses whose local part is not ASCII get a message apart from the others, because many mail servers refuse a whole message with such
    an address (RFC 6531).
    """
    if table.is_individual:
        first: dict[str, str] = {}
        for address in table.everyone:
            first.setdefault(bare_address(address), address)
        for address in first.values():
            yield table.model_copy(update={"to": (address,), "cc": (), "bcc": ()})
        return
    for addresses in compose.by_alphabet(table.everyone):
        yield table.only(frozenset(addresses).__contains__)


def with_only(settings: Settings, name: str, addresses: Collection[str]) -> Settings:
    """Return the settings with only the digest `name`, whose recipients are only those of these bare addresses."""
    table = settings.digests.get(name)
    if table is None:
        return settings
    own, *groups = [each.only(lambda address: bare_address(address) in addresses) for each in (table, *table.groups)]
    return settings.model_copy(update={"digests": {name: own.model_copy(update={"groups": tuple(groups)})}})


def unsubscribe_url(table: DigestTable) -> str:
    """Return the URL for unsubscribing with the address of the only recipient in it; "" if there is no URL."""
    url = table.unsubscribe or ""
    return url.replace(RECIPIENT, quoted_recipient(table)) if RECIPIENT in url else url


def quoted_recipient(table: DigestTable) -> str:
    """Return the address of the only recipient, percent-encoded, without the display name."""
    return quote(bare_address(table.everyone[0]), safe="")
