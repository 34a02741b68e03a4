"""Check the settings of several nodes.

What has no effect with SQLite, a missing package, queues that no spider or no worker has.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from pipeline.cli.settings_check.remark import Remark
from pipeline.settings import Settings, nearest

_POSTGRESQL = "set [pipeline] database to a PostgreSQL URL"


def check(settings: Settings) -> Iterator[Remark]:
    """Yield a remark for each such setting that is wrong or without effect.

    The database is not asked, and its URL is not read if it is a secret.
    """
    url = settings.pipeline.database
    on_sqlite = url is None or (isinstance(url, str) and url.startswith("sqlite"))
    yield from _on_sqlite(settings) if on_sqlite else _on_postgresql(settings)


def _on_sqlite(settings: Settings) -> Iterator[Remark]:
    if settings.cluster.dispatcher == "procrastinate":
        yield Remark("cluster.dispatcher", "procrastinate needs PostgreSQL, and the database is SQLite", f"{_POSTGRESQL}, or remove this setting")
    keys = [f"cluster.{name}" for name in sorted(settings.cluster.model_fields_set - {"dispatcher"})]
    for key in (*keys, *(f"spiders.{name}.queue" for name, spider in settings.spiders.items() if "queue" in spider.model_fields_set)):
        yield Remark(key, "has no effect, because the database is SQLite, so that one service performs all runs",
                     f"remove it, or {_POSTGRESQL}", suspicious=True)


def _on_postgresql(settings: Settings) -> Iterator[Remark]:
    cluster = settings.cluster
    if cluster.dispatcher == "procrastinate" and not all(find_spec(name) is not None for name in ("procrastinate", "psycopg_pool")):
        yield Remark("cluster.dispatcher", "the package procrastinate is not installed", "run `pip install 'crawl-to-inbox[cluster]'`")
    used = sorted({spider.queue for spider in settings.spiders.values()})
    unused = [queue for queue in cluster.queues if used and queue not in used]
    for queue in unused:
        yield Remark("cluster.queues", f"no spider has the queue {queue!r}{nearest(queue, used)}", f"queues of spiders: {', '.join(used)}",
                     suspicious=True, depends_on=("spiders",))
    for name, spider in settings.spiders.items():
        if cluster.queues and not unused and spider.queue not in cluster.queues:
            yield Remark(f"spiders.{name}.queue", f"no worker with these settings takes the queue {spider.queue!r}, because cluster.queues does not name it",
                         f"add it to cluster.queues, or start `pipeline worker --queues {spider.queue}` on some node", suspicious=True)
    if settings.pipeline.storage is None and not cluster.worker:
        yield Remark("pipeline.storage", "each node keeps its files to itself, so digests and pages on other nodes lack them",
                     'add storage = "s3://bucket/prefix", or use a data_dir on a shared folder', suspicious=True)
