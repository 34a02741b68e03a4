"""The registry of built-in spiders, mail transports, attachment formats and heartbeat commands.

One line registers one; its module is loaded on first use. The registry is below the settings, so that settings, CLI and mail use the same names.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class RegisteredSpider:
    """A built-in spider.

    spider_class: "module:Class", a subclass of `pipeline.crawl.built_in.BuiltInSpider`.

    declares_items: its items are what [spiders.NAME.items] declares, so that `items` needs at least one field.
    """

    spider_class: str
    declares_items: bool = False


BUILT_IN_SPIDERS: dict[str, RegisteredSpider] = {
    "crawl": RegisteredSpider("spiders.crawl:CrawlSpider", declares_items=True),
    "watch": RegisteredSpider("spiders.watch:WatchSpider"),
    "feed": RegisteredSpider("spiders.feed:FeedSpider"),
    "sitemap": RegisteredSpider("spiders.sitemap:SitemapSpider"),
}
"""What `spider` in [spiders.NAME] can name; any other value is a user's "module:Class"."""
DEFAULT_SPIDER = "crawl"
"""The spider where `spider` is not set."""


@dataclass(frozen=True)
class MailTransport:
    """A registered mail transport.

    opener: "module:function" that builds the transport (`pipeline.mail.transports.base.TransportOpener`).

    keys: the keys of [mail] that choose it. table: "module:Class", the model (`pipeline.settings.Table`) of the key that [mail]
    does not declare. That key is a table of its own, [mail.KEY]; what it has is `settings.mail.transport_options[KEY]`.
    """

    opener: str
    keys: tuple[str, ...]
    table: str | None = None


MAIL_TRANSPORTS: dict[str, MailTransport] = {
    "smtp": MailTransport("pipeline.mail.transports.smtp:open_smtp", keys=("host", "provider")),
    "sendmail": MailTransport("pipeline.mail.transports.sendmail:open_sendmail", keys=("command",)),
    "maildir": MailTransport("pipeline.mail.transports.maildir:open_maildir", keys=()),
}
DEFAULT_MAIL_TRANSPORT = "maildir"
"""The transport when no key of another one is set."""

ATTACHMENT_FORMATS: dict[str, str] = {
    "csv": "pipeline.mail.formats.csv_format:CSV",
    "xlsx": "pipeline.mail.formats.xlsx_format:XLSX",
    "jsonl": "pipeline.mail.formats.jsonl_format:JSONL",
}
"""Formats of `attach` in [digests.NAME] and of `pipeline items --format`: "module:object" of each."""

HEARTBEAT_COMMANDS: dict[str, str] = {
    "ping": "pipeline.heartbeat.protocols.commands.immediate:PING",
    "time": "pipeline.heartbeat.protocols.commands.immediate:TIME",
    "status": "pipeline.heartbeat.protocols.commands.status:STATUS",
    "health": "pipeline.heartbeat.protocols.commands.status:HEALTH",
    "spiders": "pipeline.heartbeat.protocols.commands.spiders:SPIDERS",
    "spider": "pipeline.heartbeat.protocols.commands.spiders:SPIDER",
    "runs": "pipeline.heartbeat.protocols.commands.runs:RUNS",
    "next": "pipeline.heartbeat.protocols.commands.spiders:NEXT",
    "outbox": "pipeline.heartbeat.protocols.commands.outbox:OUTBOX",
    "downloads": "pipeline.heartbeat.protocols.commands.downloads:DOWNLOADS",
    "proxies": "pipeline.heartbeat.protocols.commands.proxies:PROXIES",
    "version": "pipeline.heartbeat.protocols.commands.status:VERSION",
    "watch": "pipeline.heartbeat.protocols.commands.watch:WATCH",
    "token": "pipeline.heartbeat.protocols.commands.connection:TOKEN",
    "help": "pipeline.heartbeat.protocols.commands.immediate:HELP",
    "quit": "pipeline.heartbeat.protocols.commands.connection:QUIT",
}
"""What a client can send to the heartbeat: "module:object" of each `Command`, in the order of `help`."""


def load(target: str) -> Any:
    """The object that "module:name" names."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)
