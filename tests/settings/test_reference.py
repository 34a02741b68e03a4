"""Tests that docs/settings-reference.md describes every key and matches the models."""

from __future__ import annotations

from typing import get_args

import pytest

from pipeline.settings.fields.scalars import Table
from pipeline.settings.models.root import Settings
from pipeline.settings.reference import SECTIONS, descriptions


def tables_in(annotation: object) -> set[type[Table]]:
    """The tables that a type contains, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return {annotation}
    return {table for part in get_args(annotation) for table in tables_in(part)}


def tables_below(table: type[Table]) -> set[type[Table]]:
    """Every table that a settings file can have below this one."""
    found: set[type[Table]] = set()
    waiting = [table]
    while waiting:
        inner = {each for field in waiting.pop().model_fields.values() for each in tables_in(field.annotation)}
        waiting += inner - found
        found |= inner
    return found


def test_every_table_has_a_section() -> None:
    assert tables_below(Settings) == {table for _, table in SECTIONS}


@pytest.mark.parametrize("table", [table for _, table in SECTIONS])
def test_every_key_is_described_in_whole_sentences(table: type[Table]) -> None:
    found = descriptions(table)
    for name in table.model_fields:
        text = found[name][1]
        assert text[:1].isupper(), name
        assert text.endswith("."), name
