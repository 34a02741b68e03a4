"""Tests that tags between letters of scripts without spaces do not look like obfuscation.

Spam filters would find it.
"""

from __future__ import annotations

import pytest

from pipeline.mail.render.word_gaps import separate_words


@pytest.mark.parametrize(("html", "meant"), [
    ("<span>作者：</span>林海音", "<span>作者：</span>|林海音"), ("库存<del>12</del><ins>3</ins>件", "库存<del>|12</del><ins>3</ins>|件"),
    ('<del>平</del></bdi><bdi><ins style="color: #17663a">精</ins>装', '<del>平</del></bdi><bdi><ins style="color: #17663a">|精</ins>|装'),
    ("<del>平</del> <ins>精</ins>，", "<del>平</del> <ins>精</ins>|，"), ("<b>S</b>ummary of <i>it</i>", "<b>S</b>ummary of <i>it</i>"),
    ("<div>新</div><div>旧</div>", "<div>新</div><div>旧</div>"), ("<td>新</td><td>旧</td>", "<td>新</td><td>旧</td>"),
    ("新<b>&amp;</b>旧", "新<b>&amp;</b>旧"), ("(<a href='https://a.example/新'>新</a>)", "(<a href='https://a.example/新'>新</a>)")])
def test_a_hair_space_stands_where_a_tag_divides_a_text(html: str, meant: str) -> None:
    assert separate_words(html) == meant.replace("|", "\N{HAIR SPACE}")
