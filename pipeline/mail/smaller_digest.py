"""The settings with which a digest is built again after a mail server refused one of its messages for its size or its content."""

from __future__ import annotations

from pipeline.mail.message import compose
from pipeline.model import Rebuild
from pipeline.settings import Settings

TEXT_BYTES = 300_000
"""Room for everything but the attachments in a message of limited size."""
ENCODED_SHARE = 0.73
"""The size of a file divided by its size in Base64 with line ends."""


def with_less(settings: Settings, name: str, rebuild: Rebuild, step: int) -> Settings:
    """Return the settings with which a digest is built again: only its recipients of the refused message, and less room for attachments.

    step: how much is left out, as an index of REBUILD_STEPS.
    """
    table = settings.digests.get(name)
    if table is None:
        return settings
    attach_limit = 0
    if step == 0 and rebuild.max_bytes is not None:
        attach_limit = min(table.attach_limit, max(0, int((rebuild.max_bytes - TEXT_BYTES) * ENCODED_SHARE)))
    wanted = set(rebuild.recipients)
    possible = [each for each in (table, *table.groups) if wanted <= set(map(compose.bare_address, each.everyone))]
    chosen = min(possible, key=lambda each: len(each.everyone), default=None)
    nobody: dict[str, tuple[str, ...]] = {"to": (), "cc": (), "bcc": ()}
    those = nobody if chosen is None else {field: tuple(
        address for address in getattr(chosen, field) if compose.bare_address(address) in wanted) for field in nobody}
    groups = () if chosen is None or chosen is table else (chosen.model_copy(update=those),)
    own = those if chosen is table else nobody
    return settings.model_copy(update={"digests": {name: table.model_copy(update={**own, "groups": groups, "attach_limit": attach_limit})}})
