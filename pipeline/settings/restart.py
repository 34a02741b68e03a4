"""When settings are reloaded, keep the values that only a restart of the service can change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from pipeline.errors import Problem, SettingsError
from pipeline.settings.fields.scalars import Table
from pipeline.settings.models.cluster import ClusterTable
from pipeline.settings.models.heartbeat import HeartbeatTable
from pipeline.settings.models.root import Settings

_T = TypeVar("_T", bound=Table)

_PIPELINE = ("data_dir", "database", "storage", "s3", "timezone")
_LIVE = frozenset({"api_rate", "late_after", "outbox_after", "disk_below", "beat", "beat_every"})
"""Keys of [heartbeat] that a reload can change, because the service reads their values each time and does not keep them."""
_SENT_BY_MAIL = ("digests", "alerts")


@dataclass(frozen=True)
class ReloadReport:
    """What a reload has done. changed: the keys whose new values are in use. waiting: those that wait for a restart of the service.

    problems: why the settings were not reloaded; then nothing has changed.
    """

    changed: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def keep_until_restart(old: Settings, new: Settings) -> tuple[Settings, list[str]]:
    """Return `new` with the old values of the keys that need a restart, and a list of those that differ.

    A key needs a restart if the service reads its value only when the service starts. If [mail] changes, changes of digests and
    alerts need the restart, too: otherwise their messages would be sent with the old [mail] settings. Raises SettingsError if the
    old digests, which stay in use until the restart, need a spider that `new` no longer has.
    """
    waiting: list[str] = []
    pipeline = _keep(waiting, "pipeline", old.pipeline, new.pipeline, _PIPELINE)
    heartbeat = _keep(waiting, "heartbeat", old.heartbeat, new.heartbeat, [name for name in HeartbeatTable.model_fields if name not in _LIVE])
    cluster = _keep(waiting, "cluster", old.cluster, new.cluster, ClusterTable.model_fields)
    changed = len(waiting)
    _keep(waiting, "mail", old.mail, new.mail, [name for name, info in type(new.mail).model_fields.items() if not info.exclude])
    was, now = old.mail.transport_options, new.mail.transport_options
    waiting += [f"mail.{key}" for key in sorted(was.keys() | now.keys()) if was.get(key) != now.get(key)]
    kept = {"pipeline": pipeline, "cluster": cluster, "heartbeat": heartbeat, "mail": old.mail, "demo": old.demo}
    if len(waiting) > changed:
        waiting += [name for name in _SENT_BY_MAIL if getattr(old, name) != getattr(new, name)]
        kept |= {name: getattr(old, name) for name in _SENT_BY_MAIL}
        _refuse_lost_spiders(waiting, old, new)
    if old.demo != new.demo:
        waiting.append("demo")
    applied = new.model_copy(update=kept)
    vars(applied).pop("zone", None)  # cached for the new time zone
    return applied, waiting


def _keep(waiting: list[str], table: str, old: _T, new: _T, names: Iterable[str]) -> _T:
    """Return a copy of `new` with the values of `old` for the keys `names`.

    The keys whose values differ are appended to `waiting`.
    """
    changed = [name for name in names if getattr(old, name) != getattr(new, name)]
    waiting += [f"{table}.{type(new).model_fields[name].alias or name}" for name in changed]
    kept = new.model_copy(update={name: getattr(old, name) for name in changed})
    kept.model_fields_set.difference_update(set(changed) - old.model_fields_set)  # the copy counts each of them as set
    return kept


def _refuse_lost_spiders(waiting: list[str], old: Settings, new: Settings) -> None:
    if any(spider not in new.spiders for digest in old.digests.values() for spider in digest.spiders):
        raise SettingsError(new.file.rpartition("/")[2], [Problem(key, "a reload cannot apply the change of this key; restart the service") for key in waiting])
