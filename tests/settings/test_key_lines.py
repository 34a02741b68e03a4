"""Tests of the line of a settings file that sets a key."""

from __future__ import annotations

import pytest

from pipeline.settings.key_lines import line_of, line_of_error

TEXT = '''\
# The shop
[spiders.shop]
start = [
  "http://shop.example/[",  # ]
  'http://shop.example/2',
]
items.fields = { title = "b" }
user_agent = """
[spiders.none]
delay = "1s"
"""
"proxy" = "office"
[spiders.shop.items.details]
link = "a"
[[spiders.shop.login.steps]]
fields.pin = "1"
'''


@pytest.mark.parametrize(("key", "line"), [
    ("spiders.shop.start[1]", 3), ("spiders.shop.items.fields.title.css", 7), ("spiders.shop.user_agent", 8), ("spiders.shop.proxy", 12),
    ("spiders.shop.delay", 2), ("spiders.shop.items.details.fields", 13), ("spiders.shop.login.steps[0].fields.pin", 16), ("spiders.none", None), ("mail", None)])
def test_a_key_is_found_at_the_line_that_sets_it_or_begins_its_table(key: str, line: int | None) -> None:
    assert line_of(TEXT, key) == line


def test_the_line_of_a_syntax_error_is_read_from_its_message() -> None:
    assert line_of_error("Expected '=' after a key in a key/value pair (at line 3, column 5)") == 3
    assert line_of_error("Invalid value (at end of document)") is None
