"""The result of one check of the settings."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import PipelineError
from pipeline.text import escape_line


@dataclass(frozen=True, order=True)
class Remark:
    """A problem of the settings, or something suspicious in them.

    key: dotted path of the settings key. what: what is wrong. fix: how to fix it. suspicious: whether this is only a warning: the
    settings work, but probably not as their author wants.
    """

    key: str
    what: str
    fix: str = ""
    suspicious: bool = False

    def __str__(self) -> str:
        text = ": ".join(filter(None, (self.key, self.what)))
        return escape_line(f"{'warning: ' if self.suspicious else ''}{text}{f'; {self.fix}' if self.fix else ''}")

    @classmethod
    def of(cls, key: str, error: PipelineError) -> Remark:
        """Return a remark with the text of an error. The error's `where` is kept if it is not the key itself."""
        return cls(key, f"{error.where}: {error.what}" if error.where and not error.where.endswith(key) else error.what, error.fix)
