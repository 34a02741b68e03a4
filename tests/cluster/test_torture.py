"""A seeded sample of the torture of a cluster; `make torture` runs all of it."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.torture import Torture


@pytest.mark.needs("postgres")
def test_two_nodes_lose_and_repeat_nothing_under_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without namespaces, which take root; all of this is about kills and a database that restarts."""
    for name in ("DATABASE", "SITE_PASSWORD"):  # the cluster sets them, for the store as seen from outside
        monkeypatch.setenv(name, os.environ.get(name, ""))
    with Cluster(tmp_path, ["serve", "serve"], random.Random(3), private=False, objects=False, spiders=("a", "b")) as cluster:
        torture = Torture(cluster, 3)
        assert torture.run(1, 1, float("inf")) == 1
        assert torture.faults.record
