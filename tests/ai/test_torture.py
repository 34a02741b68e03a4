"""A short run of the torture; the long one is `python -m tests.torture ai --answers 3000`."""

from __future__ import annotations

from pathlib import Path

from tests.ai.torture import torture


def test_any_answer_is_an_instance_of_the_schema_or_an_error_with_a_reason(tmp_path: Path) -> None:
    ends = torture(tmp_path, answers=60, seed=1)
    assert ends["answered"] > 3
    assert len(ends) > 2
