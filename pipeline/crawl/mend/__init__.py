"""Propose new rules for a spider whose site has changed, by finding stored values in the new pages."""

from pipeline.crawl.mend.known_values import MAX_RECORDS
from pipeline.crawl.mend.mend import mend
from pipeline.crawl.mend.mending import Mending
from pipeline.settings.edit import merged

__all__ = ["MAX_RECORDS", "Mending", "mend", "merged"]
