"""A seeded sample of the torture of a cluster; `make torture` runs all of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.needs("postgres")
def test_two_nodes_lose_and_repeat_nothing_under_faults() -> None:
    """Without namespaces, which take root; all of this is about kills and a database that restarts."""
    done = subprocess.run([sys.executable, "-m", "tests.cluster.torture", "--rounds", "1", "--history", "1", "--seed", "3", "--nodes", "serve,serve",
                           "--spiders", "a,b", "--no-namespaces", "--storage", "folder"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 rounds in" in done.stdout
