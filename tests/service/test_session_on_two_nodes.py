"""A session on two nodes that share a database: what one node has logged in to, the other continues."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.postgres import Postgres
from tests.servers.program import Program
from tests.servers.site import PASSWORD, USER, start_site


@pytest.mark.needs("postgres")
def test_the_next_run_on_another_node_continues_logged_in(postgres: Postgres, tmp_path: Path, free_port: int) -> None:
    url = postgres.new_database()
    nodes = []
    with start_site() as site:
        for number, name in enumerate(("one", "two")):
            (tmp_path / name).mkdir()
            node = Program(tmp_path / name, free_port + number)
            node.environment |= {"DATABASE": url, "SITE_PASSWORD": PASSWORD}
            node.write(f"""
                [spiders.s]
                start = "{site.url}/private"
                items = {{ fields = {{ x = "h1" }} }}
                [spiders.s.login]
                url = "{site.url}/login"
                check = "a[href*='logout']"
                fields = {{ user = "{USER}", pass = {{ env = "SITE_PASSWORD" }} }}
                """)
            settings = node.folder / "settings.toml"
            settings.write_text(settings.read_text().replace("[pipeline]\n", '[pipeline]\ndatabase = { env = "DATABASE" }\n', 1))
            nodes.append(node)
        assert "s: logged in; 2 cookies" in nodes[0].run("login", "s").stdout
        done = nodes[1].run("run", "s")
        assert done.returncode == 0, done.stdout + done.stderr
        assert [seen.method for seen in site.log].count("POST") == 1
    assert not any((node.data / "jars").exists() for node in nodes)
