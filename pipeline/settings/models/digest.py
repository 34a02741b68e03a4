"""[digests.NAME] and its groups: which changes are sent, to whom and when."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from pipeline.registry import ATTACHMENT_FORMATS
from pipeline.settings.fields.addresses import bare_address
from pipeline.settings.fields.conditions import ConditionText
from pipeline.settings.fields.mail_links import RECIPIENT, HttpsUrl, UnsubscribeUrl
from pipeline.settings.fields.scalars import Address, Size, Table, ZoneName
from pipeline.settings.fields.schedule import Schedules
from pipeline.settings.fields.secret import Secret
from pipeline.settings.models.display import DisplayTable
from pipeline.settings.models.mail import Language

_QUIET = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\s*-\s*([01]?\d|2[0-3]):([0-5]\d)")


def _quiet(value: object) -> object:
    """Return quiet hours such as "22:00-07:00" as two times of day."""
    match = _QUIET.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[1].zfill(2) + match[2] == match[3].zfill(2) + match[4]:
        raise PydanticCustomError("quiet", "{found} are not quiet hours; write a period such as \"22:00-07:00\"",
                                  {"found": repr(value)})
    first, second = time(int(match[1]), int(match[2])), time(int(match[3]), int(match[4]))
    return (first, second)


MAX_QUESTION = 500
"""Maximum number of characters of a question to the language model."""


def _summary(value: object) -> object:
    """Return whether there is a summary, or the reader's question without white space around it."""
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, bool) or (isinstance(text, str) and 3 <= len(text) <= MAX_QUESTION and "\n" not in text):
        return text
    raise PydanticCustomError("summary", "{found} is neither true or false nor a question; write a sentence of 3 to {most} characters on one line, "
                              "such as \"which conferences were announced, and where\"", {"found": _cut(repr(value)), "most": MAX_QUESTION})


def _intent(value: object) -> object:
    """Return a condition in words without white space around it."""
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str) and 3 <= len(text) <= MAX_QUESTION and "\n" not in text:
        return text
    raise PydanticCustomError("only_if", "{found} is not a condition in words; write a sentence of 3 to {most} characters on one line, "
                              "such as \"a price falls or something new is free\"", {"found": _cut(repr(value)), "most": MAX_QUESTION})


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"


if TYPE_CHECKING:
    AttachmentKind = str
else:  # type checkers do not support a computed Literal
    AttachmentKind = Literal[(*ATTACHMENT_FORMATS, "downloads", "pages")]

Names = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
ModelSummaryKey = Annotated[bool | str, BeforeValidator(_summary)]
Intent = Annotated[str, BeforeValidator(_intent)]
QuietHours = Annotated[tuple[time, time], BeforeValidator(_quiet), WithJsonSchema({"type": "string"})]


def chosen(names: Iterable[str], tags: Collection[str], tags_of: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Return the spiders in `names`, followed by the spiders that have at least one of the tags.

    tags_of: maps each spider to its tags.
    """
    tagged = [name for name, own in tags_of.items() if not set(tags).isdisjoint(own)]
    return tuple(dict.fromkeys([*names, *tagged]))


class RecipientsTable(Table):
    """The recipients of a mail, and the filter for the changes in the mail.

    A change must meet all conditions of the filter.
    """

    to: tuple[Address, ...] = ()
    """Addresses of the To header."""
    cc: tuple[Address, ...] = ()
    """Addresses of the Cc header."""
    bcc: tuple[Address, ...] = ()
    """Addresses that receive the mail, but are not visible in the mail."""
    notify: tuple[Secret, ...] = ()
    """Secret references to the URLs of notification channels that get a short text of the mail, with or without the mail. Needs the extra
    `channels`."""
    spiders: tuple[str, ...] = ()
    """Names of the spiders whose changes are reported."""
    tags: tuple[str, ...] = ()
    """Tags of spiders. Spiders with one of these tags are reported in addition to the spiders in `spiders`."""
    changes: tuple[Literal["new", "changed", "gone", "back"], ...] = ()
    """Kinds of change to report; all by default."""
    keywords: tuple[str, ...] = ()
    """Words of which a field of the item must contain at least one. Upper and lower case are not distinguished."""
    where: tuple[ConditionText, ...] = ()
    """Conditions on the fields of an item, such as "price < 100", "title ~ python" or "price < before". All conditions must be met."""
    only_if: Intent | None = None
    """What a change must mean to be reported, as a sentence such as "a price falls or something new is free". The language model of [ai] judges
    the changes that pass the other filters; a change about which it is unsure is reported."""
    problems: bool = True
    """Whether failed and suspect runs are reported."""

    @property
    def everyone(self) -> tuple[str, ...]:
        return (*self.to, *self.cc, *self.bcc)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The bare addresses of all recipients, each once."""
        return tuple(dict.fromkeys(map(bare_address, self.everyone)))

    def only(self, wanted: Callable[[str], bool]) -> Self:
        """Return a copy whose recipients are only the wanted addresses, without notification channels."""
        return self.model_copy(update={name: tuple(filter(wanted, getattr(self, name))) for name in ("to", "cc", "bcc")} | {"notify": ()})

    @property
    def filters_items(self) -> bool:
        return bool(self.changes or self.keywords or self.where or self.only_if)


class GroupTable(RecipientsTable):
    """A group of recipients that gets its own mail.

    The mail contains the changes that pass both the filter of the digest and the filter of the group.
    """

    language: Language | None = None
    """Language of the fixed words in the mail. The default is the language of the digest."""
    timezone: ZoneName | None = None
    """Time zone of the times in the mail. The default is the time zone of the digest."""
    unsubscribe: UnsubscribeUrl | None = None
    """An https or mailto URL for unsubscribing, as in the digest. The default is that of the digest."""
    individually: bool | None = None
    """Whether each recipient gets a message of their own. The default is that of the digest."""
    summary: ModelSummaryKey | None = None
    """Whether a language model summarizes the changes, or what the readers of this mail want to know. The default is that of the digest."""

    @model_validator(mode="after")
    def _someone(self) -> Self:
        if not self.everyone and not self.notify:
            raise PydanticCustomError("empty", "the group has no recipients; add an address to `to`, `cc` or `bcc`, or a channel to `notify`")
        return self


_OWN_KEYS = ("language", "timezone", "unsubscribe", "individually", "summary")
"""The keys of a digest that each of its groups may replace."""


class DigestTable(RecipientsTable, DisplayTable):
    """A mail about what spiders found: which changes, to whom and when.

    A change must meet all conditions of the filter. `show`, `hide`, `labels`, `formats` and `good` replace the same keys of the spider's
    table `display`; in a table such as `labels`, each entry replaces the entry for the same field.
    """

    groups: tuple[GroupTable, ...] = ()
    """Groups of recipients, each with its own mail and its own filter."""
    schedule: Schedules = ()
    """When the digest is sent, written like the schedule of a spider. By default the digest is sent right after a run with news."""
    timezone: ZoneName | None = None
    """Time zone of the schedule, of the quiet hours and of the times in the mail. The default is the time zone of [pipeline]."""
    quiet: QuietHours | None = None
    """Hours in which no mail is sent, such as "22:00-07:00". When these hours end, one mail with everything that was due is sent."""
    empty: Literal["skip", "send"] = "skip"
    """What happens if there is nothing new: "skip" sends no mail, "send" sends a mail that says so."""
    attach: tuple[AttachmentKind, ...] = ()
    """What to attach: tables of the changes, downloaded files, or the pages on which new or changed items were found."""
    attach_programs: bool = False
    """Whether downloaded programs and scripts are attached. Most mail servers refuse a message with such a file."""
    group_by: Literal["spider", "tag", "kind"] | None = None
    """How the changes are grouped: by spider, by tag of the spiders, or only by kind of change. The default is "spider" if the digest has
    several spiders."""
    important: Names = ()
    """Name of the field whose changes come first, the largest relative change before smaller ones; or a list of names, the most important first."""
    csv_bom: bool = False
    """Whether CSV files begin with a byte order mark, which Excel needs to read UTF-8."""
    subject: str | None = None
    """Subject of the mail, with the placeholders {name}, {date} and {summary}. {summary}, which is the default, says what is new."""
    attach_limit: Size = Field(20 * 10**6, validate_default=False)
    """Maximum size of all attachments of one message, before encoding."""
    oversize: Literal["list", "zip", "split"] = "list"
    """What happens to attachments that exceed `attach_limit`: with "list", the mail names their paths in data_dir instead; with "zip",
    the attachments are zipped first; with "split", they are sent in further mails. A table that is too large is always zipped first."""
    charts: tuple[str, ...] = ()
    """Numeric fields whose history the mail shows as charts, for each item that changed. Needs the extra `charts`."""
    images: bool | None = None
    """Whether the mail shows a small picture of each item that has one: the field with the format "image", or a field with a name such as
    image, photo or cover. Pictures are fetched with the session of the spider. Needs the extra `images`. The pictures of watched pages
    (`watch.visual`) are shown unless this is false."""
    templates: str | None = None
    """Folder whose digest.html and digest.txt replace the built-in templates."""
    thread: bool = False
    """Whether mail clients show all mails of this digest as one conversation (References header)."""
    unsubscribe: UnsubscribeUrl | None = None
    """An https URL for one-click unsubscribing, to which mail clients send a POST request (RFC 8058), or a mailto URL (RFC 2369). In it,
    {recipient} is replaced by the address of the recipient; each recipient then gets a message of their own."""
    settings_url: HttpsUrl | None = None
    """An https URL where recipients can change what they receive; the footer of the mail links to it."""
    individually: bool = False
    """Whether each recipient gets a message of their own, which shows no other recipient."""
    language: Language = "en"
    """Language of the fixed words in the mail."""
    summary: ModelSummaryKey = False
    """Whether a language model writes a summary of all changes on top of the mail and decides which changes come first: true, or a sentence that
    says what the readers want to know, such as "which conferences were announced, and where". Needs the table [ai]."""

    @model_validator(mode="after")
    def _someone(self) -> Self:
        if not self.spiders and not self.tags:
            raise PydanticCustomError("empty", "the digest has no spiders; name a spider in `spiders`, or a tag in `tags`")
        if not self.everyone and not self.notify and not self.groups:
            raise PydanticCustomError("empty", "the digest has no recipients; add an address to `to`, or a table [[digests.NAME.groups]] with recipients")
        return self

    @property
    def is_individual(self) -> bool:
        """Whether each recipient gets a message of their own: as the settings say, or because it contains the recipient's address."""
        return self.individually or RECIPIENT in (self.unsubscribe or "")

    @property
    def asks_model(self) -> bool:
        """Whether a language model is asked about the changes, for the recipients of the digest or of one of its groups."""
        return bool(self.summary or self.only_if) or any(group.summary or group.only_if for group in self.groups)

    @property
    def sends_individually(self) -> bool:
        """Whether the recipients of the digest, or of one of its groups, get messages of their own."""
        return any(table.is_individual for table in (self, *map(self.for_group, self.groups)) if len(table.everyone) > 1)

    def for_group(self, group: GroupTable) -> DigestTable:
        """Return the digest for the recipients of one of its groups, with what the group sets in place of what the digest sets."""
        own = {name: value for name in _OWN_KEYS if (value := getattr(group, name)) is not None}
        return self.model_copy(update={"to": group.to, "cc": group.cc, "bcc": group.bcc, "notify": group.notify, "groups": (), **own})

    def with_tagged(self, tags_of: Mapping[str, Collection[str]]) -> DigestTable:
        """Return a copy in which `spiders` includes the spiders selected by `tags`, also in each group.

        tags_of: maps each spider to its tags.
        """
        spiders = chosen(self.spiders, self.tags, tags_of)
        own = {name: tags_of[name] for name in spiders if name in tags_of}
        groups = tuple(group.model_copy(update={"spiders": chosen(group.spiders, group.tags, own)})
                       for group in self.groups)
        return self.model_copy(update={"spiders": spiders, "groups": groups})

    def zone(self, default: ZoneInfo) -> ZoneInfo:
        """Return the time zone of the digest, or `default` if the digest has none."""
        return ZoneInfo(self.timezone) if self.timezone else default

    def quiet_until(self, now: datetime, default: ZoneInfo) -> datetime | None:
        """Return the end of the quiet hours if `now` is within them, otherwise None.

        default: the time zone of [pipeline].
        """
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
