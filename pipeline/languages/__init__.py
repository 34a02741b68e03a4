"""The languages of mails: the fixed texts of each language are in one TOML file of this folder.

To add a language, add its file. The settings accept the language as soon as the file exists, and a test shows what the file lacks. The texts of the heartbeat's pages are in the folder `pages`.
"""

from __future__ import annotations

from pipeline.languages.load import LANGUAGES, alert_wording, wording
from pipeline.languages.page_texts import PAGE_LANGUAGES, PageTexts, page_texts
from pipeline.languages.phrase import Phrase
from pipeline.languages.reasons import Reasons, reasons
from pipeline.languages.wording import AlertWording, Wording

__all__ = ["LANGUAGES", "PAGE_LANGUAGES", "AlertWording", "PageTexts", "Phrase", "Reasons", "Wording", "alert_wording", "page_texts", "reasons", "wording"]
