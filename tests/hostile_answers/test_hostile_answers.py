"""A sample of the hostile responses of `python -m tests.hostile_answers.torture`."""

from __future__ import annotations

from pathlib import Path

from tests.hostile_answers.torture import prove
from tests.servers.hostile_answers import hostile_answer


def test_each_hostile_answer_costs_itself(tmp_path: Path):
    prove(tmp_path, answers=150, seed=11)


def test_a_seed_gives_the_same_answer_and_many_seeds_many_kinds():
    assert hostile_answer(5) == hostile_answer(5)
    assert len({hostile_answer(seed).partition(b"\r\n\r\n")[0] for seed in range(1000)}) > 700
