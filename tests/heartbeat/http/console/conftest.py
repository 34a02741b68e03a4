"""The world of the pages, a server for it, and a browser that has signed in."""

from __future__ import annotations

import pytest
import requests

from pipeline.heartbeat.access import AccessPolicy
from tests.heartbeat.http.console.world import SECRETS, World


@pytest.fixture
def world(tmp_path_factory, monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    world = World(tmp_path_factory.mktemp("planted"))  # tmp_path is searched for secrets, and here some are planted
    yield world
    world.store.close()


@pytest.fixture
def port(start, world):
    return start(source=world, actions=world.actions, access=AccessPolicy(world.token)).address[1]


@pytest.fixture
def browser(port, world):
    """A browser that has followed the link."""
    with requests.Session() as session:
        session.trust_env = False
        session.base = f"http://127.0.0.1:{port}"
        answer = session.get(f"{session.base}/", params={"token": world.token.reveal()}, timeout=10)
        assert answer.status_code == 200
        yield session
