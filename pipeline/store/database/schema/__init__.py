"""The tables of the database, by subject.

The scripts in migrations/ bring older databases to this schema. Each table with rows that a process can lease has the three columns
of a lease (leases.py).
"""

from pipeline.store.database.schema.access import api_requests, api_tokens, audit_log, console_sessions
from pipeline.store.database.schema.archive import archive_files
from pipeline.store.database.schema.base import metadata
from pipeline.store.database.schema.cluster import (
    host_permits,
    host_turns,
    host_waits,
    nodes,
    run_members,
    schema_versions,
    session_files,
)
from pipeline.store.database.schema.crawl import (
    FAILED_PAGE,
    NOTE_EDITED_ITEMS,
    changes,
    edited_items,
    frontier,
    items,
    mendings,
    pages,
    rejects,
)
from pipeline.store.database.schema.files import download_files, downloads
from pipeline.store.database.schema.health import login_cookies, pulse
from pipeline.store.database.schema.language_model import ai_requests, judgements, model_summaries
from pipeline.store.database.schema.mail import (
    UNSEEN,
    alerts,
    deliveries,
    digest_mutes,
    digest_runs,
    digests,
    messages,
    recipients,
)
from pipeline.store.database.schema.runs import cursors, host_pauses, passes, paused, runs, slots

__all__ = [
    "FAILED_PAGE",
    "NOTE_EDITED_ITEMS",
    "UNSEEN",
    "ai_requests",
    "alerts",
    "api_requests",
    "api_tokens",
    "archive_files",
    "audit_log",
    "changes",
    "console_sessions",
    "cursors",
    "deliveries",
    "digest_mutes",
    "digest_runs",
    "digests",
    "download_files",
    "downloads",
    "edited_items",
    "frontier",
    "host_pauses",
    "host_permits",
    "host_turns",
    "host_waits",
    "items",
    "judgements",
    "login_cookies",
    "mendings",
    "messages",
    "metadata",
    "model_summaries",
    "nodes",
    "pages",
    "passes",
    "paused",
    "pulse",
    "recipients",
    "rejects",
    "run_members",
    "runs",
    "schema_versions",
    "session_files",
    "slots",
]
