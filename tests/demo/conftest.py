"""Fixtures of the tests of the demo."""

from __future__ import annotations

import pytest
import requests

from pipeline.demo import DemoSite
from tests.servers.loop import loop_thread


@pytest.fixture
def run():
    with loop_thread() as run:
        yield run


@pytest.fixture
def password_file(tmp_path):
    return tmp_path / "var" / "demo-password"


@pytest.fixture
def site(run, password_file):
    site = DemoSite(host="127.0.0.1", port=0, password_file=password_file)
    run(site.start())
    yield site
    run(site.stop())


@pytest.fixture
def browser():
    with requests.Session() as session:
        session.trust_env = False
        yield session
