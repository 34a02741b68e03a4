"""Each page in Chinese has the structure, examples, names and links of the English one.

The English page is the one that it translates.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TRANSLATED = [*ROOT.glob("*.zh-CN.md"), *(ROOT / "docs").glob("*.zh-CN.md")]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)]+)\)")


def english(page: Path) -> Path:
    return page.with_name(page.name.replace(".zh-CN", ""))


def pair(page: Path) -> tuple[str, str]:
    return english(page).read_text("utf-8"), page.read_text("utf-8")


def headings(text: str) -> list[str]:
    """The level and the number of each heading, in their order."""
    return [level + number for level, number in re.findall(r"^(#+) ((?:\d+\.)?)", _BLOCK.sub("", text), re.MULTILINE)]


def examples(text: str) -> list[tuple[str, list[str]]]:
    """Language and lines of each code block; of a line with a comment, that it has one, since comments are translated."""
    return [(language, [re.sub(r"(?:^|\s+)# .*", " #", line) for line in block.splitlines()]) for language, block in _BLOCK.findall(text)]


def links(text: str) -> Counter[str]:
    """Where its links lead; a translated page counts as the English one. The link between the two is left out."""
    body = text.partition("\n\n")[2].partition("\n\n")[2]
    return Counter(target.replace(".zh-CN", "") for target in _LINK.findall(body))


def sections(text: str) -> list[str]:
    return re.split(r"^##", _BLOCK.sub("", text), flags=re.MULTILINE)


def names(section: str) -> Counter[str]:
    """What is quoted as code: commands, keys, values."""
    return Counter(re.findall(r"(?<!`)`([^`\n]+)`", section))


def shape(section: str) -> tuple[int, list[int]]:
    """The number of list entries, and of the cells in each row of its tables."""
    rows = re.findall(r"^\|.*$", section, re.MULTILINE)
    return len(re.findall(r"^- ", section, re.MULTILINE)), [len(re.findall(r"(?<!\\)\|", row)) for row in rows]


def test_the_readme_and_the_first_guide_are_translated() -> None:
    assert {str(page.relative_to(ROOT)) for page in TRANSLATED} >= {"README.zh-CN.md", "docs/start.zh-CN.md"}


@pytest.mark.parametrize("page", TRANSLATED, ids=lambda page: page.name)
class TestTranslation:
    def test_each_page_links_to_the_other_at_its_top(self, page: Path) -> None:
        original, translation = pair(page)
        assert original.split("\n\n")[1] == f"English | [简体中文]({page.name})"
        assert translation.split("\n\n")[1] == f"[English]({english(page).name}) | 简体中文"

    def test_the_headings_are_the_same(self, page: Path) -> None:
        original, translation = map(headings, pair(page))
        assert translation == original

    def test_the_examples_are_the_same_but_for_their_comments(self, page: Path) -> None:
        original, translation = map(examples, pair(page))
        assert translation == original

    def test_the_links_are_the_same(self, page: Path) -> None:
        original, translation = map(links, pair(page))
        assert translation == original

    def test_each_section_has_the_same_names_lists_and_tables(self, page: Path) -> None:
        original, translation = map(sections, pair(page))
        for one, other in zip(original, translation, strict=True):
            assert names(other) == names(one), one
            assert shape(other) == shape(one), one

    def test_a_link_to_a_translated_page_leads_to_its_translation(self, page: Path) -> None:
        body = page.read_text("utf-8").partition("\n\n")[2].partition("\n\n")[2]
        for target in _LINK.findall(body):
            path = page.parent / target.partition("#")[0]
            assert path.suffix != ".md" or ".zh-CN" in path.name or not path.with_suffix(".zh-CN.md").exists(), target
