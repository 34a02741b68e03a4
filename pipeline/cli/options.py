"""Options and functions for several commands: --settings, --json, loading settings, opening the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from pipeline.model import Run
    from pipeline.settings import Settings
    from pipeline.store import Store


def settings_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--settings", "settings_file", default="settings.toml", show_default=True,
                        metavar="FILE", help="Path of the settings file.")(command)


class GroupWithDefault(click.Group):
    """A group of commands that is itself a command: without the name of a subcommand, its first one is meant.

    So `pipeline items books` remains what it was before there was `pipeline items forget`.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            if len(args) > 1 and not args[0].startswith("-") and not args[1].startswith("-"):  # the first command takes one name
                self._refuse_mistyped(ctx, args[0])
            args = [next(iter(self.commands)), *args]
        return super().parse_args(ctx, args)

    def _refuse_mistyped(self, ctx: click.Context, name: str) -> None:
        """Raise UsageError if a word that is no command looks like one."""
        from difflib import get_close_matches
        if close := get_close_matches(name, self.commands, n=1, cutoff=0.6):
            raise click.UsageError(f"No such command {name!r}: did you mean `pipeline {ctx.info_name} {close[0]}`?", ctx)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete subcommands, and what the first one takes."""
        first = next(iter(self.commands.values()))
        own = [item for param in first.params if isinstance(param, click.Argument) for item in param.shell_complete(ctx, incomplete)]
        return [*super().shell_complete(ctx, incomplete), *own]


def complete_spiders(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the spiders of the settings whose names begin like this, for the completion of a shell; none if the settings have an error."""
    from pipeline.settings import load
    try:
        settings = load(ctx.params.get("settings_file") or "settings.toml")
    except (UsageError, OSError, ValueError):
        return []
    return [name for name in settings.spiders if name.startswith(incomplete)]


def complete_digests(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the digests of the settings whose names begin like this, for the completion of a shell; none if the settings have an error."""
    from pipeline.settings import load
    try:
        settings = load(ctx.params.get("settings_file") or "settings.toml")
    except (UsageError, OSError, ValueError):
        return []
    return [name for name in settings.digests if name.startswith(incomplete)]


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for scripts.")


def load_settings(settings_file: str) -> Settings:
    """Load the settings file for a command, and return the settings. Their secrets are masked in warnings (see masked)."""
    from pipeline.settings import load
    return masked(load(settings_file))


def masked(settings: Settings) -> Settings:
    """Mask the secrets of the settings in warnings that are logged to stderr from now on. Return the settings."""
    from pipeline import logs
    from pipeline.settings.masking import Mask

    def mask(text: str) -> str:
        return Mask.of(settings)(text)

    logs.mask_last_resort(mask)
    return settings


def load_for_heartbeat(settings_file: str) -> Settings:
    """Load the settings file for a command that queries the heartbeat, and return the settings.

    Problems outside of the tables [pipeline] and [heartbeat] are printed, but are not an error.
    """
    from pipeline.settings import load_for_heartbeat
    settings, problems = load_for_heartbeat(settings_file)
    if problems is not None:
        click.echo(f"{problems}\nbecause of these problems, only the tables [pipeline] and [heartbeat] of the file are used", err=True)
    return settings


def open_stored(settings: Settings) -> Store:
    from pipeline.store import open_store_of
    return open_store_of(settings)


def spider_name(settings: Settings, name: str) -> str:
    """Return `name` if the settings contain a spider with this name, otherwise raise UsageError.

    The error message lists the names of all spiders in the settings.
    """
    from pipeline.settings import nearest
    if name not in settings.spiders:
        known = ", ".join(settings.spiders) or "none"
        raise UsageError(f"no spider named {name!r}{nearest(name, settings.spiders)}", where=settings.file,
                         fix=f"known: {known}")
    return name


def to_json(value: Any) -> str:
    import json
    return json.dumps(value, ensure_ascii=False, default=str)


def run_fields(entry: Run) -> dict[str, Any]:
    from dataclasses import asdict
    return {
        "run": entry.id, "pass": entry.pass_id, "spider": entry.spider, "reason": entry.reason,
        "due": entry.due_at, "started": entry.started_at, "ended": entry.ended_at,
        "outcome": entry.outcome.value if entry.outcome else None, "complete": entry.complete,
        "suspect": entry.suspect, "error": entry.error, "error_kind": entry.error_kind,
        "progress": asdict(entry.progress),
    }
