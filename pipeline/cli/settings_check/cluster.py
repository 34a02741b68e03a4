"""Check how several nodes share the work: the dispatcher and its package, and queues that no spider or no node uses."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from pipeline.cli.settings_check.remark import Remark
from pipeline.settings import Settings, nearest


def check(settings: Settings) -> Iterator[Remark]:
    """Yield a remark for each such setting that is wrong or without effect."""
    database = settings.pipeline.database
    on_sqlite = database is None or (isinstance(database, str) and database.startswith("sqlite"))
    cluster = settings.cluster
    if cluster.dispatcher == "procrastinate" and on_sqlite:
        yield Remark("cluster.dispatcher", "procrastinate needs PostgreSQL, and the database is SQLite",
                     "set [pipeline] database to a PostgreSQL URL, or remove this setting")
    elif cluster.dispatcher == "procrastinate" and find_spec("procrastinate") is None:
        yield Remark("cluster.dispatcher", "the package procrastinate is not installed", "run `pip install 'crawl-to-inbox[cluster]'`")
    if on_sqlite:
        for key in (*(["cluster.queues"] if cluster.queues else []),
                    *(f"spiders.{name}.queue" for name, spider in settings.spiders.items() if "queue" in spider.model_fields_set)):
            yield Remark(key, "has no effect, because the database is SQLite, so that one service performs all runs",
                         "remove it, or set [pipeline] database to a PostgreSQL URL", suspicious=True)
        return
    used = sorted({spider.queue for spider in settings.spiders.values()})
    for queue in cluster.queues:
        if used and queue not in used:
            yield Remark("cluster.queues", f"no spider has the queue {queue!r}{nearest(queue, used)}", f"queues of spiders: {', '.join(used)}",
                         suspicious=True, depends_on=("spiders",))
