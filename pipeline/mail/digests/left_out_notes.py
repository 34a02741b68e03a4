"""What a mail says about the changes that `only_if` leaves out or that could not be judged."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.languages import Wording, reasons
from pipeline.mail.digests.judging import LeftOut
from pipeline.mail.render.notes import Note
from pipeline.text import clean_line, isolated

_QUESTION, _WHY = 200, 300


def left_out_notes(left_out: LeftOut, words: Wording, link: str) -> Iterator[Note]:
    """Yield a note for each question that left out changes, and for each by which changes could not be judged. link: URL of the list; or ""."""
    for question, count in left_out.counts.items():
        yield Note(words.only_if_left_out.format(n=count, question=_shown(question)), link, words.only_if_list)
    for question, (count, why) in left_out.not_judged.items():
        reason = clean_line(reasons(words.lang).translate(why), _WHY)
        yield Note(words.only_if_not_judged.format(n=count, question=_shown(question), why=reason))


def _shown(question: str) -> str:
    return isolated(clean_line(question, _QUESTION))
