"""The configuration of urlwatch and webchanges.

Recipients and mail server as hints, and the defaults of jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.cli.imports.imported import Imported
from pipeline.cli.imports.source_files import read_yaml
from pipeline.settings.fields.scalars import is_address

_ON_THE_SCREEN = frozenset(["stdout", "browser", "text", "html", "markdown", "tz", "shell", "run_command", "email"])


def read_reports(path: Path, imported: Imported) -> Mapping[str, Any]:
    """Read urlwatch.yaml or config.yaml, and return its `job_defaults`. Raises UsageError if the file cannot be read."""
    documents = read_yaml(path)
    config = documents[0] if documents and isinstance(documents[0], Mapping) else {}
    report = _table(config, "report")
    email = _table(report, "email")
    if email.get("enabled"):
        _read_email(email, imported)
    for name, table in report.items():
        if isinstance(table, Mapping) and table.get("enabled") and name not in _ON_THE_SCREEN:
            imported.note(f"{path.name} has the reporter {name}: `notify` of a digest sends to the same services (docs/notify.md)")
        elif isinstance(table, Mapping) and table.get("enabled") and name in ("shell", "run_command"):
            imported.note(f"{path.name} has the reporter {name}, which runs a program; it is not carried over")
    return _table(config, "job_defaults")


def _read_email(email: Mapping[str, Any], imported: Imported) -> None:
    for address in str(email.get("to") or "").split(","):
        if is_address(address.strip()):
            imported.recipient(address.strip())
    smtp, sender = _table(email, "smtp"), str(email.get("from") or "")
    lines = ["[mail]"]
    if sender:
        lines.append(_line("from", sender))
    if email.get("method") == "sendmail":
        lines.append(f'command = ["{_plain(_table(email, "sendmail").get("path") or "sendmail")}"]')
    else:
        port = smtp.get("port") if isinstance(smtp.get("port"), int) else 25
        lines += [_line("host", smtp.get("host") or "localhost"), f"port = {port}",
                  _line("security", "tls" if port == 465 else "starttls" if smtp.get("starttls") else "none")]
        if smtp.get("auth") and (user := smtp.get("user") or sender):
            lines += [_line("user", user), 'password = { env = "MAIL_PASSWORD" }']
    if reply := email.get("reply_to"):
        lines.append(_line("reply_to", reply))
    imported.hints += ["The mail server of the configuration; compare it with [mail] in settings.toml:", *lines]


def _table(table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = table.get(name)
    return found if isinstance(found, Mapping) else {}


def _line(key: str, value: object) -> str:
    return f'{key} = "{_plain(value)}"'


def _plain(value: object) -> str:
    return str(value).replace("\\", "\\\\").replace('"', '\\"')
