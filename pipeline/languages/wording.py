"""The fixed texts that the file of each language must contain."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.languages.phrase import Phrase


@dataclass(frozen=True)
class Wording:
    """The fixed texts of digests in one language.

    counts, headings: by kind of change. outcomes: by outcome of a run. date: pattern of dates (Unicode CLDR).
    """

    lang: str
    counts: dict[str, Phrase]
    headings: dict[str, Phrase]
    comma: Phrase
    colon: Phrase
    files: Phrase
    failed: Phrase
    doubtful: Phrase
    nothing: Phrase
    more: Phrase
    unseen: Phrase
    rendered_with_less: Phrase
    built_again: Phrase
    more_attached: Phrase
    downloads: Phrase
    not_attached: Phrase
    kept_at: Phrase
    program: Phrase
    attached: Phrase
    in_part: Phrase
    part: Phrase
    problems: Phrase
    failed_runs: Phrase
    recovered: Phrase
    suspect: Phrase
    rejected: Phrase
    rejected_of: Phrase
    fewer: Phrase
    outcomes: dict[str, Phrase]
    attachments: Phrase
    rows_left_out: Phrase
    footer: Phrase
    period: Phrase
    date: Phrase
    chart: Phrase


@dataclass(frozen=True)
class AlertWording:
    """The fixed texts of alerts in one language.

    titles, over: by kind of alert.
    """

    lang: str
    alert: Phrase
    titles: dict[str, Phrase]
    failed_once: Phrase
    over: dict[str, Phrase]
    over_but_suspect: Phrase
    removed: Phrase
    since: Phrase
    lasted: Phrase
    last_good: Phrase
    last_run: Phrase
    run: Phrase
    never: Phrase
    message: Phrase
    cookie: Phrase
    ends: Phrase
    what_to_do: Phrase
    bring_in: Phrase
    by_itself: Phrase
    fix: Phrase
    rules_proposed: Phrase
    rules_applied: Phrase
    rules_not_applied: Phrase
    no_rules: Phrase
    log: Phrase
    more: Phrase
    footer: Phrase
    colon: Phrase
    comma: Phrase

