"""The running service: which one it is, check and reload the settings, suggest rules for a page."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import Field

from pipeline.heartbeat.http.api.resources.types import Name
from pipeline.heartbeat.http.api.route import Call, Input, Model, Route
from pipeline.model import Json
from pipeline.settings.fingerprint import fingerprint


class ServiceModel(Model):
    """The process that serves this API. instance: different for each start. settings: a fingerprint of its settings, without their secrets."""

    version: str
    instance: str
    settings: str


class Reloaded(Model):
    """The result of a reload. problems: why the settings were not replaced; empty if they were. changed, waiting: the keys whose new values are in use,
    and those that wait for a restart of the service."""

    changed: list[str]
    waiting: list[str]
    problems: list[str]


class Checked(Model):
    """The result of a check. lines: the problems and warnings, as `pipeline check` prints them."""

    valid: bool
    lines: list[str]


class Proposal(Model):
    """Proposed rules. confidence: 0 to 1. rows: sample items. toml: the table for settings.d."""

    kind: str
    count: int
    confidence: float
    reasons: list[str]
    notes: list[str]
    rows: list[dict[str, Json]]
    toml: str


class Suggestions(Model):
    """What was found on a page, the best proposal first. seen: what the page is instead, if there is no proposal."""

    url: str
    status: int
    seen: list[str]
    proposals: list[Proposal]


class CheckBody(Input):
    toml: str | None = Field(None, max_length=200_000, description="the text of one more file of settings.d; null checks the settings as they are")


class SuggestBody(Input):
    url: str = Field(max_length=2000, pattern=r"^https?://[^\s]+$")
    spider: Name | None = Field(None, description="the spider whose session fetches the page; without one, private addresses are refused")
    render: bool = Field(default=False, description="whether the page is rendered in a browser")
    name: Name | None = Field(None, description="the name of the new spider, whose table then has what it needs of the session of `spider`")


def routes() -> list[Route]:
    return [
        Route("GET", "/service", "Get which process serves this API.", get_service, ServiceModel),
        Route("POST", "/reload", "Reload the settings, as SIGHUP does.", reload, Reloaded, problems=("unavailable",), action="reload", target="settings"),
        Route("POST", "/check", "Check the settings, or one more file of settings.d, and change nothing.", check, Checked, body=CheckBody,
              problems=("unavailable", "conflict", "not-possible"), action="check", target="settings"),
        Route("POST", "/suggest", "Fetch a page, and propose rules for a spider.", suggest, Suggestions, body=SuggestBody,
              problems=("unavailable", "conflict", "not-possible"), action="suggest", target="a page"),
    ]


def get_service(call: Call) -> ServiceModel:
    context = call.context
    return ServiceModel(version=context.version, instance=context.instance, settings=fingerprint(context.settings))


async def reload(call: Call) -> Reloaded:
    report = await call.context.running_service.reload()
    return Reloaded(changed=list(report.changed), waiting=list(report.waiting), problems=list(report.problems))


async def check(call: Call) -> Checked:
    return Checked(**asdict(await call.context.running_service.check(call.body.toml)))


async def suggest(call: Call) -> Suggestions:
    found: Any = await call.context.running_service.suggest(call.body.url, render=call.body.render, spider=call.body.spider, name=call.body.name or "")
    return Suggestions(url=found["url"], status=found["status"], seen=found["seen"], proposals=[
        Proposal(**{name: each[name] for name in Proposal.model_fields}) for each in found["proposals"]])
