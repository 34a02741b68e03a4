"""A cluster on one machine: nodes, PostgreSQL, an object store, a site and a mail server.

Each server is on its own network where possible.
"""

from __future__ import annotations

import os
import random
from collections.abc import Collection
from pathlib import Path
from typing import Self

from pipeline.settings import load
from pipeline.store import Store, open_store_of
from tests.cluster import namespaces
from tests.cluster.nodes import Node
from tests.cluster.site import SPIDER, ClusterSite
from tests.servers.ports import free_port
from tests.servers.postgres import Postgres
from tests.servers.s3 import S3Server
from tests.servers.smtp import SmtpServer

SPIDERS = {"a": 8, "b": 8, "c": 50, "d": 30}
"""The spiders with the numbers of their pages. A pass of c takes longer than a lease lasts; a pass of d spans two nodes."""
SHARED = "d"
TO = ("you@example.com", "other@example.com")
SETTINGS = """
[pipeline]
data_dir = "{data}"
database = {{ env = "DATABASE" }}
keep_free = "1MB"
shutdown_grace = "10s"
max_runs = 3
{storage}
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
spider = "{kind}"
start = "{url}/{name}/0"
follow = ["a.page"]
download = ["a.file"]
schedule = "every {every}"
robots = false
retries = 1
timeout = "8s"
delay = "50ms"
concurrency = {concurrency}
processes = {processes}
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
    objects: whether files are in an object store, and each node has a data_dir of its own; otherwise, all nodes share one folder.
    spiders: their names.
    """

    def __init__(self, folder: Path, commands: list[str], dice: random.Random, *, private: bool, objects: bool,
                 spiders: Collection[str] = tuple(SPIDERS)) -> None:
        self.folder = folder
        self.private = private
        self.s3: S3Server | None = None
        self._objects = objects
        self.spiders = {name: pages for name, pages in SPIDERS.items() if name in spiders}
        self.site = ClusterSite(self.spiders, dice, self._server("site"))
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
            self.environment = {"DATABASE": self.postgres.new_database(), "SITE_PASSWORD": "geheim"}
            if self._objects:
                self.s3 = S3Server(self._server("storage"))
                self.environment |= self.s3.environment()
            for number, command in enumerate(self._commands, 1):
                self.nodes.append(self._node(number, tuple(command.split())))
            self.store = self._open_store()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _node(self, number: int, command: tuple[str, ...]) -> Node:
        folder, port = self._folder(f"n{number}")
        return Node(number, folder, command, self.environment, port, private=self.private)

    def _folder(self, name: str) -> tuple[Path, int]:
        """Create the folder of a node with its settings. Return the folder, and the port of the heartbeat."""
        folder, port = self.folder / name, free_port()
        folder.mkdir()
        (folder / "marked.py").write_text(SPIDER, "utf-8")
        storage = f'storage = "{self.s3.storage("pipeline")}"\ns3 = {{ allow_http = true }}' if self.s3 is not None else ""
        toml = SETTINGS.format(data=folder / "var" if self.s3 is not None else self.folder / "shared", node=name, port=port,
                               mail=self.mail.host, mail_port=self.mail.port, storage=storage)
        for place, spider in enumerate(self.spiders):
            toml += SPIDER_SETTINGS.format(name=spider, url=self.site.site.url, concurrency=1 if spider == "c" else 4,
                                           kind="crawl" if spider == SHARED else "marked:Marked", processes=2 if spider == SHARED else 1, every=f"{2 + place}s",
                                           schedule='schedule = "every 5s"' if place == 1 else "")
        (folder / "settings.toml").write_text(toml, "utf-8")
        return folder, port

    def _open_store(self) -> Store:
        """The store as seen from outside the nodes."""
        folder, _ = self._folder("outside")
        os.environ.update(self.environment)
        return open_store_of(load(folder / "settings.toml"))

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.close()
        if hasattr(self, "store"):
            self.store.close()
        self.postgres.close()
        if self.s3 is not None:
            self.s3.close()
        self.mail.__exit__(None, None, None)
        self.site.site.__exit__()
