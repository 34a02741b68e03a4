"""The tables of spiders that scripts try and save, and new rules for spiders whose site has changed."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from pipeline.heartbeat.http.access.audit import AUDITED, Audited
from pipeline.heartbeat.http.api.problem import ApiProblem
from pipeline.heartbeat.http.api.route import PREFIX, Call, Input, Model, Reply, Route
from pipeline.heartbeat.http.operations.spider_drafts import InvalidDraftError, SavedSpider
from pipeline.model import Json
from pipeline.settings.drafts import DRAFT_BYTES

_TOML = Field(max_length=DRAFT_BYTES, description="the table [spiders.NAME] of one spider, as TOML")


class TriedRule(Model):
    """What a rule matches on a page. first: the first values, as text. error: why it failed."""

    name: str
    rule: str
    count: int
    first: list[str]
    error: str


class Tried(Model):
    """What the rules of a draft find on a page. counts: how many items, links and rejected items there are; of each only the first are listed.

    remarks: what a person should know about the page and the session. warnings: what the check of the settings warned of.
    """

    url: str
    status: int
    rendered: bool
    counts: dict[str, int]
    rules: list[TriedRule]
    items: list[Json]
    links: list[str]
    rejected: list[Json]
    remarks: list[str]
    warnings: list[str]


class Saved(Model):
    """A table that was saved. changed, waiting, problems: the result of the reload. copy: the path of the file as it was before; "" if it is new."""

    name: str
    file: str
    copy_: str = Field(serialization_alias="copy")
    changed: list[str]
    waiting: list[str]
    problems: list[str]
    warnings: list[str]


class Mended(Model):
    """A search for new rules. needed and proposed rules are shown as the change of the settings file. id: "" if no rules are proposed.

    note: what was found. details: on which pages, and what was tried. saved: the result of writing the rules; null if they were not written.
    """

    id: str
    diff: list[str]
    note: str
    details: list[str]
    samples: list[dict[str, Json]]
    saved: Saved | None


class TryBody(Input):
    toml: str = _TOML
    url: str | None = Field(None, max_length=2000, pattern=r"^https?://[^\s]+$", description="the page; null means the first one in `start`")


class SpiderBody(Input):
    toml: str = _TOML


class MendBody(Input):
    apply: bool = Field(default=False, description="whether the rules that are found are written to the settings file")


def routes() -> list[Route]:
    return [
        Route("POST", "/try", "Fetch a page with the session of a new spider's table, and report what its rules find. Nothing is stored.", try_draft, Tried, body=TryBody,
              problems=("unavailable", "conflict", "not-possible"), action="try", target="a new spider"),
        Route("POST", "/spiders", "Save the table of a new spider to settings.d, and reload the settings.", save_draft, Saved, body=SpiderBody, statuses=(201,),
              problems=("unavailable", "conflict", "not-possible"), action="save", target="a new spider"),
        Route("POST", "/spiders/{name}/mend", "Look for new rules of a spider whose site has changed, and write them if `apply` is true.", mend, Mended, body=MendBody,
              problems=("unavailable", "conflict", "not-possible"), action="mend", target="spider {name}"),
    ]


async def try_draft(call: Call) -> Tried:
    try:
        found: Any = await call.context.running_service.try_spider(call.body.toml, call.body.url or "")
    except InvalidDraftError as error:
        raise _invalid(error) from error
    return Tried(url=found["url"], status=found["status"], rendered=found["rendered"], counts=found["counts"], items=found["items"], links=found["links"],
                 rejected=found["rejected"], rules=[TriedRule(**{name: each[name] for name in TriedRule.model_fields}) for each in found["rules"]],
                 remarks=[found[name] for name in ("session", "obstacle", "left_out", "picture") if found.get(name)], warnings=[str(each) for each in found["warnings"]])


async def save_draft(call: Call) -> Reply:
    try:
        saved = await call.context.running_service.save_spider(call.body.toml)
    except InvalidDraftError as error:
        raise _invalid(error) from error
    call.request[AUDITED] = Audited(target=f"spider {saved.name}")
    return Reply(_saved(saved), headers={"Location": f"{PREFIX}/spiders/{saved.name}"})


async def mend(call: Call) -> Mended:
    if call.name not in call.context.settings.spiders:
        raise ApiProblem("not-found", "the settings have no spider of this name")
    service = call.context.running_service
    found = await service.mend_spider(call.name)
    saved = await service.apply_rules(call.name, found.id) if call.body.apply and found.id else None
    return Mended(id=found.id, diff=list(found.diff), note=found.note, details=list(found.details), samples=[dict(row) for row in found.rows],
                  saved=_saved(saved) if saved is not None else None)


def _saved(saved: SavedSpider) -> Saved:
    return Saved(name=saved.name, file=saved.file, copy_=saved.copy, changed=list(saved.changed), waiting=list(saved.waiting), problems=list(saved.problems),
                 warnings=[str(each) for each in saved.warnings])


def _invalid(error: InvalidDraftError) -> ApiProblem:
    """Return the problem of a draft: each of its problems with its key and its line."""
    found = [problem for problem in error.report.problems if not problem.warning]
    if error.report.is_taken:
        return ApiProblem("conflict", found[0].text)
    return ApiProblem("not-possible", "the table has problems", errors=[
        (problem.key or "toml", f"line {problem.line}: {problem.text}" if problem.line is not None else problem.text) for problem in found])
