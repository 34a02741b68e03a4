"""The notice in a mail that differs from other mails of its digest."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.languages import reasons, wording
from pipeline.settings import Language
from pipeline.text import clean_line

NOTHING_NEW = "there is nothing new to report, so this mail would not be sent"
"""Said of a preview without news."""


@dataclass(frozen=True)
class Notice:
    """Why a mail differs from other mails of its digest.

    problem: why the mail shows less than usual; "" if it does not. is_rebuilt: whether the reason is that a mail server refused the digest.
    is_again: whether a person requested the mail again.
    """

    problem: str = ""
    is_rebuilt: bool = False
    is_again: bool = False

    def text(self, language: Language) -> str:
        """Return the notice in the language of the mail; "" if there is nothing to say."""
        words = wording(language)
        template = words.built_again if self.is_rebuilt else words.rendered_with_less
        return template.format(why=clean_line(reasons(language).translate(self.problem), 300)) if self.problem else ""
