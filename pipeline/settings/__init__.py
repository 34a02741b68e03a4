"""The settings from settings.toml. `load(path)` reads and validates the file.

The tables are immutable models. Durations are in seconds and sizes in bytes. A secret is a reference until `Secret.reveal()` reads
the secret itself.
"""

from pipeline.settings.fields.conditions import Condition
from pipeline.settings.fields.mail_links import RECIPIENT
from pipeline.settings.fields.quiet_hours import quiet_between, quiet_in_s, quiet_until
from pipeline.settings.fields.scalars import Table, nearest
from pipeline.settings.fields.schedule import Cron, Days, Every, ScheduleTable, parse_cron, parse_days, parse_when
from pipeline.settings.fields.secret import Secret
from pipeline.settings.load import load, load_for_heartbeat, schema, secrets
from pipeline.settings.models.ai import AiTable
from pipeline.settings.models.archive import ArchiveTable, SpiderArchiveTable
from pipeline.settings.models.digest import DigestTable, GroupTable, RecipientsTable
from pipeline.settings.models.display import DisplayTable
from pipeline.settings.models.downloads import DownloadsTable
from pipeline.settings.models.extraction import (
    DetailsTable,
    FieldTable,
    ItemsTable,
    PagesTable,
    SelectorTable,
    selector,
)
from pipeline.settings.models.heartbeat import HeartbeatTable
from pipeline.settings.models.login import CookiesTable, LoginStepTable, LoginTable
from pipeline.settings.models.mail import MAIL_PROVIDERS, AlertsTable, DkimTable, Language, MailTable, OAuth2Table
from pipeline.settings.models.render import BrowserTable, RenderTable, StepTable
from pipeline.settings.models.request import AuthTable, Pairs, RequestTable
from pipeline.settings.models.root import DemoTable, PipelineTable, Proxy, ProxyTable, Settings
from pipeline.settings.models.spider import BannedTable, SpiderTable
from pipeline.settings.models.watch import VisualTable, WatchTable

__all__ = ["MAIL_PROVIDERS", "RECIPIENT", "AiTable", "AlertsTable", "ArchiveTable", "AuthTable", "BannedTable", "BrowserTable", "Condition", "CookiesTable", "Cron", "Days", "DemoTable", "DetailsTable", "DigestTable", "DisplayTable", "DkimTable", "DownloadsTable", "Every", "FieldTable",
           "GroupTable", "HeartbeatTable", "ItemsTable", "Language", "LoginStepTable", "LoginTable", "MailTable", "OAuth2Table", "PagesTable", "Pairs", "PipelineTable", "Proxy",
           "ProxyTable", "RecipientsTable", "RenderTable", "RequestTable", "ScheduleTable", "Secret", "SelectorTable", "Settings", "SpiderArchiveTable", "SpiderTable", "StepTable", "Table", "VisualTable", "WatchTable", "load", "load_for_heartbeat", "nearest",
           "parse_cron", "parse_days", "parse_when", "quiet_between", "quiet_in_s", "quiet_until", "schema", "secrets", "selector"]
