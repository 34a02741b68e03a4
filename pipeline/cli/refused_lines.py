"""The lines and the JSON in which `pipeline outbox` lists addresses that were refused for good."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo
from typing import Any

from pipeline.store import Store
from pipeline.store.mail.refused_addresses import RefusedAddress, accepted_later, refused_addresses
from pipeline.text import counted, escape_line, iso


def refused_lines(store: Store, zone: tzinfo) -> Iterator[str]:
    """Yield the lines about the refused addresses that no person has marked as seen; none if there are no such addresses."""
    total, found = refused_addresses(store)
    if not found:
        return
    yield f"refused: {counted(total, 'address')}; correct or remove them, and mark them as seen with `pipeline outbox seen N` or `--all`"
    later = accepted_later(store, found)
    for each in found:
        again = later.get(each.address)
        yield (f"{each.message_id}  refused  {each.at.astimezone(zone):%Y-%m-%d %H:%M}  {escape_line(each.address)}  “{escape_line(each.subject)}”  "
               f"{_reason(each)}" + (f"  ({counted(each.messages, 'message')})" if each.messages > 1 else "")
               + (f"  (accepted again at {again.astimezone(zone):%Y-%m-%d %H:%M})" if again else ""))
    if total > len(found):
        yield f"… and {total - len(found)} more"


def refused_json(store: Store, zone: tzinfo) -> list[dict[str, Any]]:
    """Return the refused addresses for `--json`. accepted_again_at: null, or when a server accepted a later message for the address."""
    _, found = refused_addresses(store)
    later = accepted_later(store, found)
    return [{"address": each.address, "messages": each.messages, "message": each.message_id, "subject": each.subject, "at": iso(each.at, zone),
             "reason": _reason(each), "accepted_again_at": iso(later[each.address], zone) if each.address in later else None} for each in found]


def _reason(refused: RefusedAddress) -> str:
    return escape_line(f"{refused.code} {refused.answer}" if refused.code else refused.answer)
