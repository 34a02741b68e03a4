"""The running service of the settings, for commands that act on it.

They use its API when it is up, and the store otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import click

from pipeline import __version__
from pipeline.cli.audited import user_name
from pipeline.errors import HeartbeatError
from pipeline.heartbeat.service_socket import connected_socket
from pipeline.heartbeat.token import read_token

if TYPE_CHECKING:
    from pipeline.heartbeat.api_client import ApiClient
    from pipeline.settings import Settings
    from pipeline.settings.restart import ReloadReport


class RunningService:
    """What commands ask a running service to do. Each method raises the PipelineError that the command has without a service, too."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    def __str__(self) -> str:
        return str(self._client)

    def uses(self, settings: Settings) -> bool:
        """Return whether the service uses these settings, apart from those of the node and the values of secrets."""
        from pipeline.settings.fingerprint import fingerprint
        return self._client.settings_in_use == fingerprint(settings)

    def is_up(self) -> bool:
        return self._client.is_up()

    def close(self) -> None:
        self._client.close()

    def pause(self, spider: str, *, until: datetime | None, reason: str) -> bool:
        """Pause a spider. Return False if the service does not know it, because its settings are older."""
        body = {"until": until.isoformat() if until is not None else None, "reason": reason}
        return self._known("PUT", f"/spiders/{spider}/pause", body, what=f"{spider} was paused")

    def resume(self, spider: str) -> bool:
        """End the pause of a spider. Return False if the service does not know it."""
        return self._known("DELETE", f"/spiders/{spider}/pause", None, what=f"{spider} was resumed")

    def stop_run(self, run_id: int) -> None:
        """Stop a run at a checkpoint. One that has ended is left as it is."""
        answer = self._client.act("POST", f"/runs/{run_id}/stop", what=f"run {run_id} was stopped")
        if answer.problem not in ("", "conflict"):
            answer.raise_problem(f"run {run_id}")

    def start_run(self, spider: str) -> int:
        """Start a run, or find the one that waits; return its number. It may have ended already: it is skipped while another one is in progress."""
        answer = self._client.act("POST", f"/spiders/{spider}/runs", what=f"a run of {spider} was started")
        place = answer.headers.get("Location", "").rpartition("/")[2]
        if not place.isdecimal():
            answer.raise_problem(spider)
        return int(place)

    def send_digest(self, name: str) -> int | None:
        """Begin to build and deliver a digest; return its id, or None if there is nothing to report."""
        answer = self._client.act("POST", f"/digests/{name}/messages", what=f"the digest {name} is sent")
        if answer.problem:
            answer.raise_problem(f"digests.{name}")
        found = answer.document["id"]
        return int(found) if found is not None else None

    def reload(self) -> ReloadReport:
        from pipeline.settings.restart import ReloadReport
        answer = self._client.act("POST", "/reload", what="the settings were reloaded")
        if answer.problem:
            answer.raise_problem("reload")
        return ReloadReport(*(tuple(answer.document[name]) for name in ("changed", "waiting", "problems")))

    def _known(self, method: str, path: str, body: dict[str, str | None] | None, *, what: str) -> bool:
        answer = self._client.act(method, path, body, what=what)
        if answer.problem not in ("", "not-found"):
            answer.raise_problem(path)
        return not answer.problem


def find_service(settings: Settings) -> RunningService | None:
    """Return the running service of the settings; None if there is none that the command can use."""
    return _service(settings, lambda why: click.echo(f"{why}, so the command uses the database directly", err=True))


def service_with_these_settings(settings: Settings, *, otherwise: str) -> RunningService | None:
    """Return the running service, if it uses these settings; None if it uses others, or none is up. otherwise: what the command then does itself."""
    service = find_service(settings)
    if service is None or service.uses(settings):
        return service
    service.close()  # processes that are forked from this one must not inherit its connection
    click.echo(f"the service at {service} uses other settings than the files have now, so this command {otherwise}; "
               "`pipeline reload` gives the service the new ones", err=True)
    return None


def needed_service(settings: Settings) -> RunningService:
    """Return the running service of the settings. Raises HeartbeatError if there is none."""
    problems: list[str] = []
    service = _service(settings, problems.append)
    if service is None:
        raise HeartbeatError(problems[0] if problems else "no service of these settings is running", where=settings.file,
                             fix="restart it" if problems else "start it with `pipeline serve`, which reads the settings when it starts")
    return service


def _service(settings: Settings, warn: Callable[[str], None]) -> RunningService | None:
    """Return the running service of the settings. warn: see ApiClient. Without a service, this takes less than 5 ms."""
    token = read_token(settings.data_dir)
    if token is None:
        return None  # no service has ever used this data_dir, or this user may not read its token
    sock = connected_socket(settings)
    if sock is None:
        return None
    from pipeline.heartbeat.api_client import ApiClient  # takes 30 ms to import
    client = ApiClient(settings, token, version=__version__, user=user_name, warn=warn)
    return RunningService(client) if client.connect(sock) else None
