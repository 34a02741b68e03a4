"""[digests.NAME] with its groups: which changes are sent, to whom and when."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, time, timedelta
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.settings.fields.conditions import ConditionText
from pipeline.settings.fields.scalars import Address, HttpUrl, Size, Table, ZoneName
from pipeline.settings.fields.schedule import Schedules
from pipeline.settings.models.mail import Language

_QUIET = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\s*-\s*([01]?\d|2[0-3]):([0-5]\d)")


def _quiet(value: object) -> object:
    """ "22:00-07:00" as two times of day."""
    match = _QUIET.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[1].zfill(2) + match[2] == match[3].zfill(2) + match[4]:
        raise PydanticCustomError("quiet", "{found} are no quiet hours; write them as \"22:00-07:00\"",
                                  {"found": repr(value)})
    first, second = time(int(match[1]), int(match[2])), time(int(match[3]), int(match[4]))
    return (first, second)


QuietHours = Annotated[tuple[time, time], BeforeValidator(_quiet), WithJsonSchema({"type": "string"})]


def chosen(names: Iterable[str], tags: Collection[str], tags_of: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """The spiders named, and those that carry one of the tags. tags_of: by spider."""
    tagged = [name for name, own in tags_of.items() if not set(tags).isdisjoint(own)]
    return tuple(dict.fromkeys([*names, *tagged]))


class RecipientsTable(Table):
    """Who gets a mail, and what of the changes is in it. All of the filter must hold."""

    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    bcc: tuple[Address, ...] = ()
    spiders: tuple[str, ...] = ()
    """By name; once the settings are read, those of `tags` are among them."""
    tags: tuple[str, ...] = ()
    """Spiders that carry one of these tags, beside those named."""
    changes: tuple[Literal["new", "changed", "gone", "back"], ...] = ()
    """Kinds of change; all without it."""
    keywords: tuple[str, ...] = ()
    """At least one of them is in a field of the item, whatever its case."""
    where: tuple[ConditionText, ...] = ()
    """Conditions that all hold, such as "price < 100", "title ~ python", "price < before"."""
    problems: bool = True
    """Whether failed and suspect runs are told."""

    @property
    def everyone(self) -> tuple[str, ...]:
        return (*self.to, *self.cc, *self.bcc)

    @property
    def filters_items(self) -> bool:
        return bool(self.changes or self.keywords or self.where)


class GroupTable(RecipientsTable):
    """Recipients of a digest with a mail of their own: what passes the digest's filter and this one."""

    @model_validator(mode="after")
    def _someone(self) -> Self:
        if not self.everyone:
            raise PydanticCustomError("empty", "needs somebody in to, cc or bcc")
        return self


class DigestTable(RecipientsTable):
    groups: tuple[GroupTable, ...] = ()
    schedule: Schedules = ()
    """As a spider's; without it a digest goes out right after a run."""
    timezone: ZoneName | None = None
    """Of the schedule, the quiet hours and the times in the mail; by default that of [pipeline]."""
    quiet: QuietHours | None = None
    """No mail in these hours, "22:00-07:00": what is due waits for their end and comes in one."""
    empty: Literal["skip", "send"] = "skip"
    """With nothing new: no mail, or one that says so."""
    attach: tuple[Literal["csv", "xlsx", "jsonl", "downloads", "pages"], ...] = ()
    """pages: those on which something new or changed was found, as they were found."""
    csv_bom: bool = False
    """CSV begins with a byte order mark, by which Excel knows UTF-8. rspamd gives 5 points for one; xlsx costs none."""
    subject: str | None = None
    attach_limit: Size = Field(20 * 10**6, validate_default=False)
    """Bytes of attachments in one message, before encoding."""
    oversize: Literal["list", "zip", "split"] = "list"
    """What does not fit is listed with its place in data_dir, zipped first, or sent in further mails. Tables are
    zipped in any case."""
    charts: tuple[str, ...] = ()
    """Numeric fields whose course over time is drawn for items that changed. Needs the extra `charts`."""
    templates: str | None = None
    """A folder, relative to settings.toml, whose digest.html and digest.txt go before ours."""
    thread: bool = False
    """Clients show all mails of this digest as one conversation (References)."""
    unsubscribe: HttpUrl | None = None
    """https URL that takes a POST for one-click unsubscribing (RFC 8058)."""
    language: Language = "en"

    @field_validator("unsubscribe")
    @classmethod
    def _secure(cls, value: str | None) -> str | None:
        if value is not None and not value.lower().startswith("https://"):
            raise PydanticCustomError("url", "one-click unsubscribing needs https (RFC 8058, 3.1)")
        return value

    @model_validator(mode="after")
    def _someone(self) -> Self:
        if not self.spiders and not self.tags:
            raise PydanticCustomError("empty", "spiders needs at least one, or tags that spiders carry")
        if not self.everyone and not self.groups:
            raise PydanticCustomError("empty", "to needs at least one, or [[digests.NAME.groups]] with their own")
        return self

    def with_tagged(self, tags_of: Mapping[str, Collection[str]]) -> DigestTable:
        """With the spiders that its tags, and those of its groups, stand for. tags_of: by spider."""
        spiders = chosen(self.spiders, self.tags, tags_of)
        own = {name: tags_of[name] for name in spiders if name in tags_of}
        groups = tuple(group.model_copy(update={"spiders": chosen(group.spiders, group.tags, own)})
                       for group in self.groups)
        return self.model_copy(update={"spiders": spiders, "groups": groups})

    def zone(self, default: ZoneInfo) -> ZoneInfo:
        """Its own time zone, or that of [pipeline]."""
        return ZoneInfo(self.timezone) if self.timezone else default

    def quiet_until(self, now: datetime, default: ZoneInfo) -> datetime | None:
        """When the quiet hours that `now` is in end; None outside of them. default: the zone of [pipeline]."""
        if self.quiet is None:
            return None
        local = now.astimezone(self.zone(default))
        first, last = self.quiet
        at = local.time()
        inside = first <= at < last if first < last else at >= first or at < last
        if not inside:
            return None
        end = local.replace(hour=last.hour, minute=last.minute, second=0, microsecond=0, fold=0)
        if at >= last:
            end = (end.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=local.tzinfo)
        return max(end.astimezone(now.tzinfo), now + timedelta(seconds=1))
