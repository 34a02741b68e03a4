"""The spiders of the settings, and their pauses."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from pipeline.heartbeat.http.api.paging import page_of, position_in
from pipeline.heartbeat.http.api.resources.types import Number, Text, Time
from pipeline.heartbeat.http.api.route import (
    DEFAULT_LIMIT,
    MOST,
    Call,
    Input,
    Model,
    Page,
    PageQuery,
    Reply,
    Route,
    not_found,
)
from pipeline.heartbeat.http.operations import spiders as operations
from pipeline.store.runs.paused_spiders import Pause


class PauseModel(Model):
    """The pause of a spider. until: null if it lasts until the spider is resumed."""

    since: datetime
    until: datetime | None
    reason: str


class SpiderPause(Model):
    """Whether a spider is paused."""

    spider: str
    pause: PauseModel | None


class Spider(Model):
    """A spider of the settings, with its state. health: ok, degraded or failing. running: the numbers of its runs in progress."""

    name: str
    health: str
    reasons: list[str]
    schedule: str | None
    next_due: str | None
    late: bool
    paused: bool
    paused_until: str | None
    pause_reason: str
    last_success: str | None
    failures_in_a_row: int
    running: list[int]
    last_run: int | None
    login_ends: str | None


class SpiderQuery(PageQuery):
    limit: Number = Field(DEFAULT_LIMIT, ge=1, le=MOST)
    q: Text | None = Field(None, description="a part of the name")
    health: str | None = Field(None, pattern="^(ok|degraded|failing)$")


class PauseBody(Input):
    until: Time | None = Field(None, description="when the pause ends by itself; null lasts until the spider is resumed")
    reason: str = Field("", max_length=operations.LONGEST_REASON)


def routes() -> list[Route]:
    return [
        Route("GET", "/spiders", "List the spiders of the settings, sorted by name.", list_spiders, Page[Spider], SpiderQuery),
        Route("GET", "/spiders/{name}", "Get a spider.", get_spider, Spider),
        Route("GET", "/spiders/{name}/pause", "Get the pause of a spider.", get_pause, SpiderPause),
        Route("PUT", "/spiders/{name}/pause", "Pause a spider, or change its pause. A run in progress continues.", put_pause, SpiderPause,
              body=PauseBody, problems=("conflict",), action="pause", target="spider {name}"),
        Route("DELETE", "/spiders/{name}/pause", "Resume a spider.", delete_pause, SpiderPause, action="resume", target="spider {name}"),
    ]


async def list_spiders(call: Call) -> Page[Spider]:
    snapshot = await call.context.snapshot()
    position = position_in(call.query.after, str)
    found = [_spider(name, status) for name, status in sorted(snapshot["spiders"].items())
             if (position is None or name > str(position[0])) and (call.query.q or "").casefold() in name.casefold()
             and call.query.health in (None, status["health"])]
    return page_of(found, call.query.limit, lambda each: each, lambda each: (each.name,))


async def get_spider(call: Call) -> Spider:
    status = (await call.context.snapshot())["spiders"].get(call.name)
    if status is None:
        raise unknown_spider(call)
    return _spider(call.name, status)


def get_pause(call: Call) -> SpiderPause:
    check_spider(call)
    return _pause(call)


def put_pause(call: Call) -> Reply:
    check_spider(call)
    operations.pause(call.context.store, call.context.settings, call.name, until=call.body.until, reason=call.body.reason, now=call.context.now())
    return Reply(_pause(call), wake=call.context.actions.on_plan)


def delete_pause(call: Call) -> Reply:
    if not operations.resume(call.context.store, call.name):
        check_spider(call)
    return Reply(SpiderPause(spider=call.name, pause=None), wake=call.context.actions.on_plan)


def check_spider(call: Call) -> None:
    """Raise ApiProblem if the settings have no spider of this name."""
    if call.name not in call.context.settings.spiders:
        raise unknown_spider(call)


def unknown_spider(call: Call) -> Exception:
    return not_found("the settings have no spider of this name")


def _pause(call: Call) -> SpiderPause:
    found: Pause | None = operations.current_pause(call.context.store, call.name, now=call.context.now())
    return SpiderPause(spider=call.name, pause=PauseModel(since=found.since, until=found.until, reason=found.reason) if found is not None else None)


def _spider(name: str, status: Any) -> Spider:
    last = status["last_run"]
    return Spider(name=name, last_run=last["id"] if last is not None else None,
                  **{field: status[field] for field in Spider.model_fields if field not in ("name", "last_run")})
