"""A spider that is registered in `pipeline.registry` runs, can be tried and is named in errors.

Nothing else must be changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scrapy.http import Response

from pipeline.crawl.built_in import BuiltInSpider, TriedRule
from pipeline.crawl.collector import Found
from pipeline.crawl.extract import Document
from pipeline.errors import SettingsError
from pipeline.registry import BUILT_IN_SPIDERS, DEFAULT_SPIDER, RegisteredSpider, load
from pipeline.settings import SpiderTable
from pipeline.settings import load as load_settings
from tests.crawl.conftest import Crawls
from tests.crawl.extract.test_try_rules import URL, rules, tried
from tests.servers.pages import PageSite


class SizeSpider(BuiltInSpider):
    """The size of each page, in `args.unit` bytes."""

    name = "size"
    key = "url"
    does = "measures pages"
    item = "a page: `url`, `size`"

    def __init__(self, unit: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._unit = unit

    @classmethod
    def arguments(cls, table: SpiderTable) -> dict[str, Any]:
        return {"unit": table.args.get("unit", 1)}

    @classmethod
    def own_rules(cls, table: SpiderTable, document: Document) -> Iterator[TriedRule]:
        yield TriedRule("args.unit", str(table.args.get("unit", 1)), lambda: [len(document.text)])

    def parse(self, response: Response, **kwargs: Any) -> Iterator[Found]:
        yield Found(items=[{"url": response.url, "size": len(response.body) // self._unit}])


@pytest.fixture
def size_spider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILT_IN_SPIDERS, "size", RegisteredSpider(f"{__name__}:SizeSpider"))


def test_a_registered_spider_runs_with_its_own_arguments(size_spider: None, crawls: Crawls, site: PageSite) -> None:
    site.pages = {"/": "x" * 300}
    crawls.write(f'[spiders.s]\nspider = "size"\nstart = "{site.url}/"\nargs = {{ unit = 100 }}\n')
    assert crawls.run().complete
    assert [item["size"] for item in crawls.items().values()] == [3]


def test_a_registered_spider_can_be_tried_with_its_own_rules(size_spider: None, tmp_path: Path) -> None:
    found = tried(tmp_path, 'spider = "size"\n', "1234")
    assert rules(found) == {"args.unit": (1, ["4"])}
    assert found["items"] == [{"url": URL, "size": 4}]


def test_an_unknown_spider_is_an_error_that_names_the_registered_ones(size_spider: None, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text('[spiders.s]\nspider = "seize"\nstart = "http://site.example/"\n')
    with pytest.raises(SettingsError, match=f'give one of {", ".join(BUILT_IN_SPIDERS)}, or your own class as "module:Class"') as caught:
        load_settings(tmp_path / "settings.toml")
    assert ", size, or" in str(caught.value)


@pytest.mark.parametrize("name", BUILT_IN_SPIDERS)
def test_each_registered_class_is_a_built_in_spider_of_that_name(name: str) -> None:
    spider = load(BUILT_IN_SPIDERS[name].spider_class)
    assert issubclass(spider, BuiltInSpider)
    assert (spider.name, bool(spider.does and spider.item)) == (name, True)


def test_the_fields_of_a_spider_that_registers_none_are_unknown(size_spider: None, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text('[spiders.s]\nspider = "size"\nstart = "http://site.example/"\n')
    assert load_settings(tmp_path / "settings.toml").spiders["s"].item_fields is None


@pytest.mark.parametrize("name", [name for name, found in BUILT_IN_SPIDERS.items() if found.fields])
def test_the_registered_fields_are_those_that_the_spider_describes(name: str) -> None:
    described = load(BUILT_IN_SPIDERS[name].spider_class).item.partition(";")[0]
    assert tuple(re.findall(r"`(\w+)`", described)) == BUILT_IN_SPIDERS[name].fields


def test_the_default_spider_is_registered() -> None:
    assert DEFAULT_SPIDER in BUILT_IN_SPIDERS
