"""Check [ai] and the digests that use it, and say what leaves the machine."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from pipeline.ai.change_text import never_sent, shown_display
from pipeline.ai.open_client import INSTALL, is_installed
from pipeline.cli.settings_check.remark import Remark
from pipeline.settings import AiTable, DigestTable, Settings
from pipeline.settings.fields.scalars import is_local
from pipeline.text import clean_line, counted

_KINDS = {"email": "e-mail addresses", "phone": "phone numbers", "iban": "account numbers", "card": "card numbers"}
_MOST_FIELDS = 30


def uses_of(digest: DigestTable) -> list[str]:
    """Return the keys of a digest that need the language model."""
    groups = (f"groups[{number}].{key}" for number, group in enumerate(digest.groups) for key in ("summary", "only_if") if getattr(group, key, None))
    return [*(key for key in ("summary", "only_if") if getattr(digest, key, None)), *groups]


def check(settings: Settings) -> Iterator[Remark]:
    """Yield a remark for each mistake in [ai], and for what is suspicious. That a digest needs [ai] and lacks it is an error of the settings."""
    if settings.ai is None:
        return
    used = any(map(uses_of, settings.digests.values()))
    if not is_installed():
        yield Remark("ai", "the language model needs the package openai, which is not installed", f"{INSTALL}, or remove [ai]", suspicious=not used)
    if not used:
        yield Remark("ai", "no digest uses the language model, so nothing is sent to it", "set `summary` or `only_if` in a digest, or remove [ai]",
                     suspicious=True, depends_on=("digests",))
    yield from _address(settings.ai)
    most = settings.ai.max_input_tokens + settings.ai.max_output_tokens
    if most > settings.ai.max_tokens_per_day:
        yield Remark("ai.max_tokens_per_day", f"a single request may need {most:,} tokens, which is more than the limit of a day",
                     "increase it, or decrease max_input_tokens and max_output_tokens", suspicious=True)


def _address(table: AiTable) -> Iterator[Remark]:
    parts = urlsplit(table.base_url)
    if parts.scheme == "http" and not is_local(parts.hostname or ""):
        what = "the changes and the key of the API are" if table.api_key is not None else "the changes are"
        yield Remark("ai.base_url", f"{what} sent without encryption over the internet, to {parts.hostname}", "write an https URL", suspicious=True)
    if parts.path.endswith("/completions"):
        yield Remark("ai.base_url", "is the URL of one request, and the program adds /chat/completions itself",
                     f'write "{table.base_url.removesuffix("/completions").removesuffix("/chat")}"')
    elif not parts.path:
        yield Remark("ai.base_url", "has no path, and most servers have their API under /v1", f'write "{table.base_url}/v1"', suspicious=True)


def leaving(settings: Settings) -> Iterator[str]:
    """Yield lines that say what is sent to the language model: for which digests, which fields of which spiders, and what is hidden before."""
    table = settings.ai
    used = {name: uses for name, digest in settings.digests.items() if (uses := uses_of(digest))}
    if table is None or not used:
        return
    place = "this machine" if table.is_on_this_machine else "the local network" if is_local(urlsplit(table.base_url).hostname or "") else "the internet"
    yield f"sent to the language model {clean_line(table.model)} at {table.host} ({place}), in a digest with changes:"
    for name, uses in used.items():
        digest = settings.digests[name]
        yield f"  digests.{name} ({', '.join(uses)}): {'; '.join(_fields(settings, digest, spider) for spider in digest.spiders)}"
    own = counted(len(table.mask_patterns), "own pattern") if table.mask_patterns else ""
    yield f"  hidden before: {', '.join(filter(None, ['secrets of the settings, URLs', *(_KINDS[kind] for kind in table.mask), own]))}"
    left = [text for kind, text in _KINDS.items() if kind not in table.mask]
    if left:
        yield f"  not hidden: {', '.join(left)}"


def _fields(settings: Settings, digest: DigestTable, name: str) -> str:
    """Return which fields of a spider the model is shown, such as "books: title, price, without note"."""
    display, spider = shown_display(settings, digest, name), settings.spiders.get(name)
    known = display.show or (spider.item_fields if spider is not None else None)
    sent = [field for field in known or () if field not in display.hide and field not in never_sent(spider)]
    shown = ", ".join(sent[:_MOST_FIELDS]) + (f" and {len(sent) - _MOST_FIELDS} more" if len(sent) > _MOST_FIELDS else "")
    return f"{name}: {shown or ('every field' if known is None else 'only the title')}" + (f", without {', '.join(display.hide)}" if display.hide else "")
