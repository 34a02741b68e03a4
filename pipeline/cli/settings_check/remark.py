"""The result of one check of the settings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.errors import PipelineError
from pipeline.text import escape_line


@dataclass(frozen=True, order=True)
class Remark:
    """A problem of the settings, or something suspicious in them.

    key: dotted path of the settings key. what: what is wrong. fix: how to fix it. suspicious: whether this is only a warning: the
    settings work, but probably not as their author wants. depends_on: keys on which the remark depends: if one of them, or a part of
    it, has a problem of its own, the remark may only be a consequence, and is not reported; "" stands for the whole file.
    """

    key: str
    what: str
    fix: str = ""
    suspicious: bool = False
    depends_on: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = ": ".join(filter(None, (self.key, self.what)))
        return escape_line(f"{'warning: ' if self.suspicious else ''}{text}{f'; {self.fix}' if self.fix else ''}")

    def follows_from(self, keys: Iterable[str]) -> bool:
        """Return whether the remark may be a consequence of problems with these keys."""
        return any(not own or key == own or key.startswith((f"{own}.", f"{own}[")) for key in keys for own in self.depends_on)

    @classmethod
    def of(cls, key: str, error: PipelineError) -> Remark:
        """Return a remark with the text of an error. The error's `where` is kept if it is not the key itself."""
        return cls(key, f"{error.where}: {error.what}" if error.where and not error.where.endswith(key) else error.what, error.fix)
