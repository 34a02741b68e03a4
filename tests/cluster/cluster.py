"""A cluster on one machine: nodes, PostgreSQL, a site and a mail server, each on a network of its own where possible."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Self

from pipeline.store import Store, open_store
from tests.cluster import namespaces
from tests.cluster.nodes import Node
from tests.cluster.site import SPIDER, ClusterSite
from tests.servers.ports import free_port
from tests.servers.postgres import Postgres
from tests.servers.smtp import SmtpServer

SPIDERS = {"a": 8, "b": 8, "c": 50}
"""The spiders with the numbers of their pages. The last takes longer for a pass than a lease lasts."""
TO = ("you@example.com", "other@example.com")
SETTINGS = """
[pipeline]
data_dir = "{data}"
database = {{ env = "DATABASE" }}
keep_free = "1MB"
shutdown_grace = "10s"
max_runs = 3
[cluster]
node = "{node}"
[heartbeat]
port = {port}
[mail]
host = "{mail}"
port = {mail_port}
security = "none"
timeout = "10s"
"""
SPIDER_SETTINGS = """
[spiders.{name}]
spider = "marked:Marked"
start = "{url}/{name}/0"
follow = ["a.page"]
download = ["a.file"]
schedule = "every {every}"
robots = false
retries = 1
timeout = "8s"
delay = "50ms"
concurrency = {concurrency}
retry = {{ times = 1, wait = "1s" }}
[spiders.{name}.login]
url = "{url}/{name}/login"
fields = {{ user = "{name}", password = {{ env = "SITE_PASSWORD" }} }}
check = "a.logout"
[spiders.{name}.items]
each = "p"
key = ["id"]
[spiders.{name}.items.fields]
id = {{ css = "b" }}
value = {{ css = "i", type = "number" }}
[digests.{name}]
spiders = ["{name}"]
to = ["you@example.com", "other@example.com"]
attach = ["jsonl"]
{schedule}
"""


class Cluster:
    """`with Cluster(folder, ["serve", "serve"], random.Random(1)) as cluster:` nothing is started but the servers and the agents.

    commands: what each node runs. private: whether nodes have namespaces; this process must then be in private ones itself.
    """

    def __init__(self, folder: Path, commands: list[str], dice: random.Random, *, private: bool) -> None:
        self.folder = folder
        self.private = private
        self.site = ClusterSite(SPIDERS, dice, self._server("site"))
        self.mail = SmtpServer(host=self._server("mail"))
        self._commands = commands
        self.nodes: list[Node] = []

    def _server(self, network: str) -> str:
        return namespaces.server_address(network) if self.private else "127.0.0.1"

    def __enter__(self) -> Self:
        if self.private:
            namespaces.build_networks()
        self.site.site.__enter__()
        self.mail.__enter__()
        self.postgres = Postgres(self._server("database"), namespaces.CLIENTS if self.private else "")
        try:
            self.database = self.postgres.new_database()
            for number, command in enumerate(self._commands, 1):
                self.nodes.append(self._node(number, tuple(command.split())))
            self.store = self._open_store()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _node(self, number: int, command: tuple[str, ...]) -> Node:
        folder = self.folder / f"n{number}"
        folder.mkdir()
        (folder / "marked.py").write_text(SPIDER, "utf-8")
        port = free_port()
        toml = SETTINGS.format(data=self.folder / "shared", node=f"n{number}", port=port, mail=self.mail.host, mail_port=self.mail.port)
        for place, (name, pages) in enumerate(SPIDERS.items()):
            toml += SPIDER_SETTINGS.format(name=name, url=self.site.site.url, concurrency=1 if pages > 20 else 4, every=f"{2 + place}s", schedule='schedule = "every 5s"' if place == 1 else "")
        (folder / "settings.toml").write_text(toml, "utf-8")
        return Node(number, folder, command, {"DATABASE": self.database, "SITE_PASSWORD": "geheim"}, port, private=self.private)

    def _open_store(self) -> Store:
        """The store as seen from outside the nodes."""
        return open_store(self.folder / "shared", self.database)

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.close()
        if hasattr(self, "store"):
            self.store.close()
        self.postgres.close()
        self.mail.__exit__(None, None, None)
        self.site.site.__exit__()
