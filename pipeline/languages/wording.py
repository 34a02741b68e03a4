"""The fixed texts that the file of each language must contain."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.languages.figures import decimal
from pipeline.languages.phrase import Phrase

LEFT_TO_RIGHT, RIGHT_TO_LEFT = "ltr", "rtl"


@dataclass(frozen=True)
class Texts:
    """What the file of a language says about its writing.

    lang: name of the file, which is the language tag (BCP 47). direction: LEFT_TO_RIGHT or RIGHT_TO_LEFT. fonts: the fonts of its
    script, as CSS lists them, each with a comma behind it; "" if every computer has fonts for the script.
    """

    lang: str
    direction: str
    fonts: str

    @property
    def start(self) -> str:
        """The side at which a line starts, as CSS names it."""
        return "right" if self.direction == RIGHT_TO_LEFT else "left"

    @property
    def end(self) -> str:
        """The side at which a line ends, as CSS names it."""
        return "left" if self.direction == RIGHT_TO_LEFT else "right"

    @property
    def arrow(self) -> str:
        """The arrow from an old value to its new value, in the direction of reading."""
        return "←" if self.direction == RIGHT_TO_LEFT else "→"

    def number(self, value: float) -> str:
        """Return a number as the language writes it, for templates."""
        return decimal(value, self.lang)


@dataclass(frozen=True)
class Wording(Texts):
    """The fixed texts of digests in one language.

    counts, headings: by kind of change. subject: the parts of a subject. outcomes: by outcome of a run. file_types: by type of file.
    date: pattern of dates (Unicode CLDR).
    """

    counts: dict[str, Phrase]
    headings: dict[str, Phrase]
    subject: dict[str, Phrase]
    comma: Phrase
    colon: Phrase
    semicolon: Phrase
    enumeration: Phrase
    more_spiders: Phrase
    files: Phrase
    failed: Phrase
    doubtful: Phrase
    nothing: Phrase
    checked: Phrase
    never_checked: Phrase
    pages: Phrase
    items: Phrase
    incomplete: Phrase
    other: Phrase
    more: Phrase
    more_of: Phrase
    unseen: Phrase
    other_fields: Phrase
    left_out: Phrase
    points: Phrase
    yes: Phrase
    no: Phrase
    rendered_with_less: Phrase
    built_again: Phrase
    subject_again: Phrase
    sent_again: Phrase
    more_attached: Phrase
    downloads: Phrase
    not_attached: Phrase
    too_large: Phrase
    missing: Phrase
    kept_at: Phrase
    open_stored: Phrase
    found_on: Phrase
    program: Phrase
    older_versions: Phrase
    older_left_out: Phrase
    attached: Phrase
    in_part: Phrase
    part: Phrase
    only_if_left_out: Phrase
    only_if_list: Phrase
    only_if_not_judged: Phrase
    problems: Phrase
    failed_runs: Phrase
    recovered: Phrase
    suspect: Phrase
    failed_files: Phrase
    rejected: Phrase
    rejected_of: Phrase
    fewer: Phrase
    outcomes: dict[str, Phrase]
    attachments: Phrase
    file_types: dict[str, Phrase]
    rows_left_out: Phrase
    footer: Phrase
    unsubscribe: Phrase
    settings: Phrase
    stop_write: Phrase
    stop_ask: Phrase
    period: Phrase
    date: Phrase
    chart: Phrase
    picture_of: Phrase
    pictures_failed: Phrase
    pictures_left: Phrase
    pictures_need_pillow: Phrase
    page_picture_changed: Phrase
    page_picture_share: Phrase
    page_picture_where: Phrase
    page_picture_place: Phrase
    page_picture_before: Phrase
    page_picture_now: Phrase
    page_picture_marked: Phrase
    page_picture_alt: Phrase
    model_summary: Phrase
    model_summary_by: Phrase
    model_summary_by_some: Phrase
    model_summary_claim: Phrase
    model_summary_further: Phrase
    model_summary_missing: Phrase
    model_summary_nothing: Phrase
    archived_page: Phrase
    archived_pages: Phrase
    test_subject: Phrase
    test_text: Phrase


@dataclass(frozen=True)
class AlertWording(Texts):
    """The fixed texts of alerts in one language.

    titles, over: by kind of alert. several: several problems of one kind of alert, and several that are over. outcomes: by outcome of a
    run that did not end by itself. tries: what the program has tried. steps: what to do, by kind of alert and of error. proposal: the texts
    of proposed rules (pipeline.proposal.ProposalTexts). date: pattern of dates (Unicode CLDR).
    """

    alert: Phrase
    titles: dict[str, Phrase]
    failed_once: Phrase
    over: dict[str, Phrase]
    several: dict[str, Phrase]
    over_but_suspect: Phrase
    removed: Phrase
    since: Phrase
    lasted: Phrase
    last_good: Phrase
    last_run: Phrase
    run: Phrase
    never: Phrase
    outcomes: dict[str, Phrase]
    cookie: Phrase
    ends: Phrase
    tried: Phrase
    tries: dict[str, Phrase]
    what_to_do: Phrase
    steps: dict[str, Phrase]
    fix: Phrase
    rules_proposed: Phrase
    rules_applied: Phrase
    rules_not_applied: Phrase
    no_rules: Phrase
    proposal: dict[str, Phrase]
    pages: Phrase
    run_page: Phrase
    spider_page: Phrase
    digests_page: Phrase
    nodes_page: Phrase
    log: Phrase
    more: Phrase
    footer: Phrase
    zone: Phrase
    date: Phrase
    colon: Phrase
    comma: Phrase
    enumeration: Phrase
