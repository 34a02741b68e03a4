"""Declarations of routes: the source of handlers, parameter checks and the OpenAPI document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from pipeline.heartbeat.http.api.problem import ApiProblem, Kind
from pipeline.heartbeat.http.operations.service_actions import ServiceActions
from pipeline.heartbeat.snapshot.schema import Snapshot
from pipeline.settings import Settings
from pipeline.store import Store

if TYPE_CHECKING:
    from pipeline.heartbeat.http.operations.context import OperationsContext

PREFIX = "/api/v1"
DEFAULT_LIMIT = 50
MOST = 500
_T = TypeVar("_T", bound=BaseModel)


class Model(BaseModel):
    """A resource in a response."""

    model_config = ConfigDict(frozen=True)


class Input(BaseModel):
    """The parameters of a query or the fields of a body: unknown names are refused, values are not converted from other types."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoQuery(Input):
    """A query without parameters."""


class PageQuery(Input):
    """The parameters of every list."""

    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MOST, description="the maximum number of entries")
    after: str | None = Field(None, max_length=6000, pattern="^[A-Za-z0-9_-]+$", description="the value of `next` of the page before")


class Page(Model, Generic[_T]):
    """A page of a list. next: the value of `after` for the next page; null if this is the last page."""

    items: list[_T]
    next: str | None = None


@dataclass(frozen=True)
class ApiContext:
    """What the handlers use. actions: the actions that the pages have, too. snapshot: returns the current status.

    version: of the program. instance: identifies this process; each start of a service has another one.
    """

    actions: OperationsContext
    snapshot: Callable[[], Awaitable[Snapshot]]
    version: str = ""
    instance: str = ""

    @property
    def store(self) -> Store:
        return self.actions.store

    @property
    def settings(self) -> Settings:
        return self.actions.settings

    def now(self) -> datetime:
        return self.actions.clock()

    @property
    def running_service(self) -> ServiceActions:
        """The service's part of the operations. Raises ApiProblem if this process has none."""
        if self.actions.service is None:
            raise ApiProblem("unavailable", "this process performs no such requests; send them to `pipeline serve`")
        return self.actions.service


@dataclass(frozen=True)
class Call:
    """One request to a route. names: the parameters of the path. query, body: instances of the models of the route."""

    context: ApiContext
    names: Mapping[str, str]
    query: Any
    body: Any
    request: web.Request

    @property
    def id(self) -> int:
        return int(self.names["id"])

    @property
    def name(self) -> str:
        return self.names["name"]


def _do_nothing() -> None:
    pass


@dataclass(frozen=True)
class Reply:
    """The result of a handler. status: None means the status of the route. wake: called in the event loop after the handler."""

    model: BaseModel
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    wake: Callable[[], None] = _do_nothing


Result = BaseModel | Reply | web.StreamResponse
Handler = Callable[[Call], Result] | Callable[[Call], Awaitable[Result]]


@dataclass(frozen=True)
class Route:
    """A method of a resource. path: below PREFIX, such as "/spiders/{name}"; {id} is a number.

    handler: a function, which is called in a thread, or a coroutine function. result: the model of the response; None if it is a file.
    problems: the kinds of problems that this route has besides those of every route. statuses: statuses of success. action, target: the name and
    the target in the audit log, such as "pause" and "spider {name}"; "" if nothing is changed.
    """

    method: str
    path: str
    summary: str
    handler: Handler
    result: type[BaseModel] | None
    query: type[Input] = NoQuery
    body: type[Input] | None = None
    statuses: tuple[int, ...] = (200,)
    problems: tuple[Kind, ...] = ()
    action: str = ""
    target: str = ""
    tag: str = ""

    @property
    def pattern(self) -> str:
        """The path as aiohttp's router expects it."""
        return PREFIX + self.path.replace("{id}", r"{id:\d{1,18}}")


def not_found(what: str) -> ApiProblem:
    return ApiProblem("not-found", what)
