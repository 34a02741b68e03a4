"""The settings with which a digest is built again after a mail server refused one of its messages.

The reason is the size or the content of the message.
"""

from __future__ import annotations

from pipeline.mail.digests.recipients import with_only
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
    only = with_only(settings, name, frozenset(rebuild.recipients)).digests[name]
    tables = [only, *only.groups]
    having = [position for position, each in enumerate(tables) if each.everyone]
    # The groups may have been edited since the message was refused.
    chosen = rebuild.recipients_of if rebuild.recipients_of in having else next(iter(having), None)
    own, *groups = [each if position == chosen else each.only(lambda address: False) for position, each in enumerate(tables)]
    return settings.model_copy(update={"digests": {name: own.model_copy(update={"groups": tuple(groups), "attach_limit": attach_limit, "images": False})}})
