"""The registry of built-in spiders, mail transports, attachment formats and heartbeat commands.

To register a component, add one entry to the dictionary of its kind. The module of the component is imported on first use. The
registry does not import the settings, so that the settings, the command line and the mail package can all import the registry.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple


class RegisteredSpider(NamedTuple):
    """A built-in spider.

    spider_class: the spider's class as "module:Class", a subclass of `pipeline.crawl.built_in.BuiltInSpider`. declares_items: whether
    [spiders.NAME.items] declares the fields of the spider's items; this table must then contain at least one field. fields: the
    names of the items' fields if [spiders.NAME.items] declares none; None if they are unknown. ignores: keys of [spiders.NAME] that
    the spider does not use. only_with_items: further such keys if there is no table `items`. args: names of its arguments in `args`;
    None if they are unknown.
    """

    spider_class: str
    declares_items: bool = False
    fields: tuple[str, ...] | None = None
    ignores: tuple[str, ...] = ()
    only_with_items: tuple[str, ...] = ()
    args: tuple[str, ...] | None = None


_RULES = ("follow", "download", "pages")
_ITEM_RULES = ("items.each", "items.fields", "items.details")

BUILT_IN_SPIDERS: dict[str, RegisteredSpider] = {
    "crawl": RegisteredSpider("spiders.crawl:CrawlSpider", declares_items=True, ignores=("watch",), args=()),
    "watch": RegisteredSpider("spiders.watch:WatchSpider", fields=("url", "name", "text", "picture"), ignores=(*_RULES, *_ITEM_RULES), args=()),
    "feed": RegisteredSpider("spiders.feed:FeedSpider", fields=("id", "url", "title", "author", "published", "summary", "tags", "feed"),
                             ignores=(*_RULES, *_ITEM_RULES, "watch"), args=("files", "ids")),
    "sitemap": RegisteredSpider("spiders.sitemap:SitemapSpider", fields=("url", "lastmod", "changefreq", "priority"),
                                ignores=("watch",), only_with_items=_RULES, args=()),
}
"""The built-in spiders, by the value of `spider` in [spiders.NAME]. Any other value names a user's class as "module:Class"."""
DEFAULT_SPIDER = "crawl"
"""The built-in spider that is used if [spiders.NAME] does not set `spider`."""


class MailTransport(NamedTuple):
    """A registered mail transport.

    opener: the function that builds the transport, as "module:function" (see `pipeline.mail.transports.base.TransportOpener`). keys:
    the transport is used if [mail] contains one of these keys. table: the settings model of [mail.KEY] as "module:Class", a subclass
    of `pipeline.settings.Table`; only needed for a transport that the model of [mail] does not know. Its values are then in
    `settings.mail.transport_options[KEY]`.
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
"""The transport that is used if [mail] contains no key of another transport."""

ATTACHMENT_FORMATS: dict[str, str] = {
    "csv": "pipeline.mail.formats.csv_format:CSV",
    "xlsx": "pipeline.mail.formats.xlsx_format:XLSX",
    "jsonl": "pipeline.mail.formats.jsonl_format:JSONL",
}
"""The formats for `attach` in [digests.NAME] and for `pipeline items --format`, each as "module:object"."""

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
"""The commands that a client can send to the heartbeat, each as "module:object" of a `Command`, in the order of `help`."""

IMPORT_FORMATS: dict[str, str] = {
    "urlwatch": "pipeline.cli.imports.formats.urlwatch:URLWATCH",
    "webchanges": "pipeline.cli.imports.formats.urlwatch:WEBCHANGES",
    "changedetection": "pipeline.cli.imports.formats.changedetection:CHANGEDETECTION",
    "opml": "pipeline.cli.imports.formats.opml:OPML",
}
"""The formats of other programs that `pipeline import` reads, each as "module:object" of an `ImportFormat`."""


def load(target: str) -> Any:
    """Import and return the object with the given "module:name"."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)
