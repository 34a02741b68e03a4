"""Check what `only_if` of digests has no effect on, and say what it costs."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.ai.change_text import MAX_CHARACTERS
from pipeline.ai.tokens import tokens_of
from pipeline.cli.settings_check.remark import Remark
from pipeline.mail.digests.judging import MAX_RECORDS
from pipeline.mail.digests.verdicts import MAX_REASON, instructions
from pipeline.settings import AiTable, DigestTable, RecipientsTable, Settings
from pipeline.text import counted

_SHORT = 200
"""The length of a short change: a title and three fields."""
_ANSWER = '{"number": 17, "tell": false, "reason": "the price rose from 10 to 12"}'
_TEMPLATES = ("digest.html", "digest.txt")


def check(settings: Settings) -> Iterator[Remark]:
    """Yield a warning for each `only_if` without effect, and for what it excludes or does not say."""
    for name, digest in settings.digests.items():
        for key, table in _with_only_if(f"digests.{name}", digest):
            yield from _without_effect(settings, key, digest, table)
        if next(_with_only_if("", digest), None) is not None and digest.templates is not None:
            for file in _TEMPLATES:
                path = settings.folder / digest.templates / file
                if path.is_file() and "notes" not in path.read_text("utf-8", "replace"):
                    yield Remark(f"digests.{name}.templates", f"{file} does not use the variable `notes`, so the mail does not say what `only_if` leaves out",
                                 'add {% include "_notes' + path.suffix + '" %}', suspicious=True)


def _with_only_if(key: str, digest: DigestTable) -> Iterator[tuple[str, RecipientsTable]]:
    tables = ((key, digest), *((f"{key}.groups[{number}]", group) for number, group in enumerate(digest.groups)))
    return ((own, table) for own, table in tables if table.only_if)


def _without_effect(settings: Settings, key: str, digest: DigestTable, table: RecipientsTable) -> Iterator[Remark]:
    if table is not digest and table.only_if == digest.only_if:
        yield Remark(f"{key}.only_if", "has no effect, because the digest has the same condition", "remove it", suspicious=True)
    spiders = [settings.spiders[name] for name in table.spiders or digest.spiders if name in settings.spiders]
    if spiders and all(spider.item_fields == () for spider in spiders):
        yield Remark(f"{key}.only_if", "has no changes to judge, because no spider of the digest finds items; downloads are excluded by it, so that only problems are reported",
                     "remove it", suspicious=True, depends_on=("spiders",))
    elif "downloads" in digest.attach and (table is digest or not digest.only_if):
        yield Remark(f"{key}.only_if", "excludes downloads, because they belong to no item, so that `attach` finds none", "remove \"downloads\" from `attach`",
                     suspicious=True)


def costs(settings: Settings) -> Iterator[str]:
    """Yield a line for each digest with `only_if` that says what the language model is asked, and what it costs about."""
    if settings.ai is None:
        return
    for name, digest in settings.digests.items():
        questions = dict.fromkeys(table.only_if for _, table in _with_only_if("", digest) if table.only_if)
        if not questions:
            continue
        least, most, answer = tokens_of("x" * _SHORT), tokens_of("x" * MAX_CHARACTERS), tokens_of(_ANSWER)
        task = max(tokens_of(instructions(question, digest.language)) for question in questions)
        yield (f"digests.{name}: {settings.ai.model} at {settings.ai.host} judges each change once by {counted(len(questions), 'condition')}: about {least} to {most} tokens "
               f"for each change, {task} more for each request of at most {MAX_RECORDS}, and {answer} to {answer + tokens_of('x' * MAX_REASON)} for each answer"
               f"{_price(settings.ai, (least, answer), (most, answer + tokens_of('x' * MAX_REASON)))}")


def _price(ai: AiTable, least: tuple[int, int], most: tuple[int, int]) -> str:
    """Return what 1,000 changes cost. least, most: the tokens that are sent and received for one change."""
    if not ai.price_input and not ai.price_output:
        return ""
    low, high = (ai.cost(1000 * sent, 1000 * received) for sent, received in (least, most))
    return f"; 1,000 changes cost about {low:.2f} to {high:.2f} {ai.currency}"
