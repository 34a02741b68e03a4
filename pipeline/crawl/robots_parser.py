"""The rules of robots.txt as Scrapy's middleware asks for them (ROBOTSTXT_PARSER)."""

from __future__ import annotations

from typing import Self

from scrapy.crawler import Crawler
from scrapy.robotstxt import RobotParser

from pipeline.session.robots import ROBOT
from pipeline.session.robots_rules import RobotsRules


class OurRobotParser(RobotParser):
    """For our own name only, which is the one that the middleware asks for."""

    def __init__(self, robotstxt_body: bytes) -> None:
        self._rules = RobotsRules(robotstxt_body, ROBOT)

    @classmethod
    def from_crawler(cls, crawler: Crawler, robotstxt_body: bytes) -> Self:
        return cls(robotstxt_body)

    def allowed(self, url: str | bytes, user_agent: str | bytes) -> bool:
        return self._rules.allows(url if isinstance(url, str) else url.decode("utf-8", "replace"))

    def crawl_delay(self, user_agent: str | bytes) -> float | None:
        return self._rules.delay_s
