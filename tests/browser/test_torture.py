"""A sample of torture.py, which kills the processes of crawls that render pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.torture import rounds

pytestmark = pytest.mark.needs("chromium")


def test_no_process_of_a_browser_outlives_its_run_whatever_is_killed(tmp_path: Path) -> None:
    with rounds(tmp_path, seed=296) as made:
        made.round(0)
        made.calm()
