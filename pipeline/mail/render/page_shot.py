"""A picture of a page in a mail."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.mail.message.compose import Picture


@dataclass(frozen=True)
class PageShot:
    """One picture of a page in a mail. label: what it shows. link: URL of the full picture on the heartbeat's pages; "" if there is none."""

    picture: Picture
    label: str
    alt: str
    width: int
    height: int
    link: str = ""

    @property
    def cid(self) -> str:
        return f"cid:{self.picture.name}"
