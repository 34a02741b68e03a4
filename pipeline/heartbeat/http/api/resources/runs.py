"""Runs: list, get, log, changes, start and stop."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from pipeline.heartbeat.http.api.paging import id_before, page_of, position_in
from pipeline.heartbeat.http.api.problem import ApiProblem
from pipeline.heartbeat.http.api.resources.spiders import check_spider
from pipeline.heartbeat.http.api.resources.types import Name, Number, Text
from pipeline.heartbeat.http.api.route import (
    DEFAULT_LIMIT,
    MOST,
    PREFIX,
    Call,
    Input,
    Model,
    Page,
    PageQuery,
    Reply,
    Route,
    not_found,
)
from pipeline.heartbeat.http.operations import runs as operations
from pipeline.heartbeat.http.operations.spiders import run_now
from pipeline.heartbeat.http.stored_files import in_file_thread
from pipeline.model import Change, ChangeKind, Json, Outcome, Progress, Run, Transfer
from pipeline.store.console import lists
from pipeline.store.files.log_lines import LEVELS
from pipeline.store.runs import runs

State = Literal["waiting", "running", "ended"]


class RunModel(Model):
    """A run. complete: whether the pass fetched everything. suspect: whether the run succeeded, but its items are doubtful."""

    id: int
    spider: str
    pass_id: int
    reason: str
    state: State
    due_at: datetime
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    stop_requested_at: datetime | None
    outcome: Outcome | None
    complete: bool
    suspect: bool
    error: str
    error_kind: str
    progress: Progress
    transfers: list[Transfer]


class ChangeModel(Model):
    """A change of an item. fields: the names of the fields that changed. before, after: all fields before and after."""

    id: int
    run: int
    spider: str
    key: str
    kind: ChangeKind
    at: datetime
    fields: list[str]
    before: dict[str, Json]
    after: dict[str, Json]


class LogLineModel(Model):
    """A line of a log. at: null for text in another format."""

    at: datetime | None
    level: str
    text: str


class RunLog(Model):
    """Lines of a run's log, the oldest first. begin: give it as `before` to get the lines before these; 0 if there are none.

    end: give it as `after` to get the lines after these, also those that are written later. parts: the logs of processes of the run on other
    nodes. A search examines 8 MiB of the log at once, so it may find no lines although `begin` or `end` leads to more.
    """

    run: int
    lines: list[LogLineModel]
    begin: int
    end: int
    parts: list[str]


class RunQuery(PageQuery):
    limit: Number = Field(DEFAULT_LIMIT, ge=1, le=MOST)
    spider: Name | None = None
    outcome: Outcome | None = None
    state: State | None = None


class ChangeQuery(PageQuery):
    limit: Number = Field(DEFAULT_LIMIT, ge=1, le=MOST)
    kind: ChangeKind | None = None


class LogQuery(Input):
    limit: Number = Field(200, ge=1, le=MOST, description="the maximum number of lines")
    level: str = Field("debug", pattern=f"^({'|'.join(LEVELS)})$", description="the lowest level")
    q: Text | None = Field(None, description="a part of the text")
    part: Text | None = Field(None, description="the log of a process on another node, one of `parts`")
    before: Number | None = Field(None, ge=0, lt=2**63, description="the byte of the log before which the lines end: `begin` of the lines after them")
    after: Number | None = Field(None, ge=0, lt=2**63, description="the byte of the log at which the lines begin: `end` of the lines before them")


def routes() -> list[Route]:
    return [
        Route("GET", "/runs", "List runs, the newest first.", list_runs, Page[RunModel], RunQuery),
        Route("GET", "/runs/{id}", "Get a run.", get_run, RunModel),
        Route("GET", "/runs/{id}/log", "Get lines of a run's log, by default the last ones.", get_log, RunLog, LogQuery),
        Route("GET", "/runs/{id}/changes", "List the changes that a run found.", list_changes_of_run, Page[ChangeModel], ChangeQuery),
        Route("POST", "/runs/{id}/stop", "Ask to stop a run at a checkpoint. The next run continues its pass.", stop_run, RunModel,
              statuses=(202,), problems=("conflict",), action="stop", target="run {id}"),
        Route("POST", "/spiders/{name}/runs", "Start a run. If a run of the spider waits already, it is returned with 200.", start_run, RunModel,
              statuses=(201, 200), problems=("conflict",), action="run", target="spider {name}", tag="runs"),
        Route("GET", "/spiders/{name}/changes", "List the changes of a spider's items, those of the newest runs first.", list_changes,
              Page[ChangeModel], ChangeQuery, tag="changes"),
    ]


def list_runs(call: Call) -> Page[RunModel]:
    query = call.query
    found = lists.runs_page(call.context.store, limit=query.limit + 1, before=id_before(query.after), spider=query.spider,
                            outcome=query.outcome.value if query.outcome is not None else None, state=query.state)
    return page_of(found, query.limit, run_model, lambda run: (run.id,))


def get_run(call: Call) -> RunModel:
    return run_model(run_of_call(call))


async def get_log(call: Call) -> RunLog:
    return await in_file_thread(_log_of, call)


def _log_of(call: Call) -> RunLog:
    run, context = run_of_call(call), call.context
    if call.query.before is not None and call.query.after is not None:
        raise ApiProblem("invalid-parameter", "give `before` or `after`, not both")
    found = operations.log(context.store, context.actions.mask, run, operations.LogFilter(call.query.level, call.query.q or ""),
                           before=call.query.before, after=call.query.after, limit=call.query.limit, part=call.query.part or "")
    return RunLog(run=run.id, lines=[LogLineModel(at=line.at, level=line.level, text=line.text) for line in found.lines], begin=found.begin, end=found.end,
                  parts=list(found.parts))


def list_changes_of_run(call: Call) -> Page[ChangeModel]:
    return _changes(call, run_id=run_of_call(call).id)


def list_changes(call: Call) -> Page[ChangeModel]:
    check_known_spider(call)
    return _changes(call, spider=call.name)


def stop_run(call: Call) -> RunModel:
    run_of_call(call)
    call.context.actions.on_stop(operations.stop(call.context.store, call.id, now=call.context.now()))
    return run_model(run_of_call(call))


def start_run(call: Call) -> Reply:
    check_spider(call)
    started = call.context.now()
    run = run_now(call.context.store, call.context.settings, call.name, now=call.context.now())
    location = {"Location": f"{PREFIX}/runs/{run.id}"}
    if run.ended_at is not None:  # skipped, because a run is in progress
        raise ApiProblem("conflict", run.error, headers=location)
    return Reply(run_model(run), status=201 if run.created_at >= started else 200, headers=location,
                 wake=call.context.actions.on_run)


def check_known_spider(call: Call) -> None:
    """Raise ApiProblem for a spider that neither the settings nor the store know."""
    if call.name not in call.context.settings.spiders and not runs.history(call.context.store, call.name, limit=1):
        raise not_found("there is no spider of this name")


def run_model(run: Run) -> RunModel:
    state: State = "ended" if run.ended_at is not None else "running" if run.started_at is not None else "waiting"
    own: dict[str, Any] = {name: getattr(run, name) for name in RunModel.model_fields if name not in ("state", "transfers")}
    return RunModel(state=state, transfers=list(run.transfers), **own)


def change_model(change: Change) -> ChangeModel:
    return ChangeModel(id=change.id, run=change.run_id, spider=change.spider, key=change.key, kind=change.kind, at=change.at, fields=change.fields,
                       before=change.before, after=change.after)


def _changes(call: Call, **of: Any) -> Page[ChangeModel]:
    position = position_in(call.query.after, int, int)
    before = (int(position[0]), int(position[1])) if position is not None else None
    found = lists.changes_page(call.context.store, limit=call.query.limit + 1, kind=call.query.kind, before=before, **of)
    return page_of(found, call.query.limit, change_model, lambda change: (change.run_id, change.id))


def run_of_call(call: Call) -> Run:
    """Return the run in the path. Raises ApiProblem if there is none."""
    found = runs.get_run(call.context.store, call.id)
    if found is None:
        raise not_found("there is no run with this number")
    return found
