"""Use the values of a Scrapy project's settings where the spider's table in settings.toml has none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scrapy.settings import Settings as ScrapySettings

from pipeline.crawl.scrapy.project.settings.setting_table import SETTING_TABLE
from pipeline.errors import SpiderError
from pipeline.settings import SpiderTable

ADOPTED = {name: use.key for name, use in SETTING_TABLE.items() if use.kind == "adopted"}
"""Maps settings of Scrapy to the keys of [spiders.NAME] that take their values from a project."""


def adopted(table: SpiderTable, given: Mapping[str, Any]) -> SpiderTable:
    """Return the spider's table with the values of a project's settings for keys that the table in settings.toml does not have.

    given: what the project and the spider set. Raise SpiderError if a value is not valid.
    """
    values = {key: _value(name, given) for name, key in ADOPTED.items() if name in given and key not in table.model_fields_set}
    if given.get("RETRY_ENABLED") is False and "retries" not in table.model_fields_set:
        values["retries"] = 0
    return table.model_copy(update=values)


def _value(name: str, given: Mapping[str, Any]) -> Any:
    settings = ScrapySettings({name: given[name]})
    try:
        match name:
            case "DOWNLOAD_DELAY":
                return max(0.0, settings.getfloat(name))
            case "AUTOTHROTTLE_ENABLED":
                return settings.getbool(name)
            case "USER_AGENT":
                return None if given[name] is None else str(given[name])
            case "CONCURRENT_REQUESTS_PER_DOMAIN":
                return min(256, max(1, settings.getint(name)))
            case "RETRY_TIMES":
                return min(20, max(0, settings.getint(name)))
        return max(0, settings.getint(name))
    except (TypeError, ValueError) as error:
        raise SpiderError(f"{name} = {given[name]!r} is not a valid value", where="the settings of the Scrapy project",
                          fix=f"correct the setting, or set `{ADOPTED[name]}` in settings.toml") from error
