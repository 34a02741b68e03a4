"""The heartbeat command `proxies`, which lists the proxies in the settings."""

from __future__ import annotations

from pipeline.heartbeat.protocols.commands.command import SnapshotCommand
from pipeline.heartbeat.snapshot.schema import Snapshot


def _proxies(snapshot: Snapshot, argument: str) -> str:
    resting = {each["proxy"]: each["until"] for each in snapshot.get("resting_proxies", [])}

    def shown(url: str) -> str:
        return f"{url} (not used until {resting[url]})" if url in resting else url
    return "; ".join(f"{name} {', '.join(map(shown, urls))}" for name, urls in snapshot["proxies"].items()) or "no proxies"


PROXIES = SnapshotCommand(name="proxies", answer=_proxies, help="the proxies of the settings, without credentials")
