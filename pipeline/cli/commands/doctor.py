"""`pipeline doctor`: perform the checks in doctor_checks.py, and print each finding with its fix."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from pipeline.cli.options import json_option, settings_option, to_json
from pipeline.text import counted


@click.command()
@settings_option
@click.option("--offline", is_flag=True, help="Skip the checks that need the network: proxies, logins, the mail server.")
@click.option("--deep", is_flag=True, help="Read all files of the archive, and compare their content with its SHA-256 and its timestamp.")
@json_option
def doctor(settings_file: str, *, offline: bool, deep: bool, as_json: bool) -> None:
    """Check settings, machine, database and connections, and report each problem with its fix.

    Exits 1 if there is a problem.
    """
    from pipeline.cli.doctor_checks import State, examine
    found = []
    for finding in examine(settings_file, now=datetime.now(UTC), connect=not offline, deep=deep):
        found.append(finding)
        if not as_json:
            mark = {State.OK: "ok", State.WARNING: "WARN", State.PROBLEM: "FAIL"}[finding.state]
            click.echo(f"{mark:4}  {finding.check}: {finding.found}" + (f"\n      {finding.fix}" if finding.fix else ""))
    problems = sum(finding.state is State.PROBLEM for finding in found)
    if as_json:
        click.echo(to_json({"problems": problems, "findings": [vars(finding) for finding in found]}))
    else:
        warnings = sum(finding.state is State.WARNING for finding in found)
        click.echo(f"{counted(problems, 'problem')}, {counted(warnings, 'warning')}")
    raise SystemExit(1 if problems else 0)
