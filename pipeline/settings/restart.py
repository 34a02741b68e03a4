"""When settings are reloaded, reject changes that only a restart of the service can apply."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.errors import Problem, SettingsError
from pipeline.settings.fields.scalars import Table
from pipeline.settings.models.heartbeat import HeartbeatTable
from pipeline.settings.models.root import Settings

_PIPELINE = ("data_dir", "database", "timezone")
_LIVE = frozenset({"late_after", "outbox_after", "disk_below", "beat", "beat_every"})
"""Keys of [heartbeat] that a reload can change, because the service reads them whenever it needs them."""


def refuse_what_takes_a_restart(old: Settings, new: Settings) -> None:
    """Raise SettingsError if `new` changes keys that the service reads only at its start."""
    pairs: tuple[tuple[str, Table, Table, tuple[str, ...]], ...] = (
        ("pipeline", old.pipeline, new.pipeline, _PIPELINE),
        ("heartbeat", old.heartbeat, new.heartbeat, tuple(name for name in HeartbeatTable.model_fields if name not in _LIVE)),
        ("mail", old.mail, new.mail, tuple(name for name, info in type(new.mail).model_fields.items() if not info.exclude)))
    changed = [key for table, was, now, names in pairs for key in _changed(table, was, now, names)]
    was, now = old.mail.transport_options, new.mail.transport_options
    changed += [f"mail.{key}" for key in sorted(was.keys() | now.keys()) if was.get(key) != now.get(key)]
    if old.demo != new.demo:
        changed.append("demo")
    if changed:
        raise SettingsError(new.file.rpartition("/")[2], [Problem(key, "a reload cannot apply the change of this key; restart the service") for key in changed])


def _changed(table: str, was: Table, now: Table, names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        if getattr(was, name) != getattr(now, name):
            yield f"{table}.{type(now).model_fields[name].alias or name}"
