"""`pipeline notify test`: send a test text to notification channels."""

from __future__ import annotations

import click

from pipeline.cli.options import load_settings, settings_option
from pipeline.errors import UsageError


@click.group()
def notify() -> None:
    """Test notification channels, such as Slack, Telegram or ntfy."""


@notify.command("test")
@settings_option
@click.option("--digest", "name", metavar="NAME", help="Test only the channels of this digest and of its groups.")
@click.option("--alerts", is_flag=True, help="Test only the channels of [alerts].")
def notify_test(settings_file: str, name: str | None, *, alerts: bool) -> None:
    """Send a test text to each notification channel.

    Prints for each channel whether the service accepted the text, or why not.
    """
    from pipeline.cli.deliveries import send_test_texts
    from pipeline.settings import nearest
    settings = load_settings(settings_file)
    if name is not None and alerts:
        raise UsageError("give either --digest or --alerts, not both", where="notify test")
    if name is not None and name not in settings.digests:
        raise UsageError(f"no digest named {name!r}{nearest(name, settings.digests)}", where=settings.file, fix=f"known: {', '.join(settings.digests) or 'none'}")
    raise SystemExit(send_test_texts(settings, "alerts" if alerts else f"digests.{name}" if name is not None else "", say=click.echo))
