"""Records and enums that all packages share: Run, Item, Change, Page, Download, Message, states.

Datetimes are timezone-aware and in UTC. Names ending in `_s` are seconds, names ending in `_bytes` are bytes.
"""

from pipeline.model.crawl import FrontierState, LoginCookie, Page, PageOutcome, Request
from pipeline.model.exchange import Exchange, HeaderLines, RenderedPage
from pipeline.model.files import Download, DownloadState, PictureRequest, QueuedDownload, StoredFile, Transfer, together
from pipeline.model.items import Change, ChangeKind, Item, Json, Reject
from pipeline.model.mail import (
    REBUILD_STEPS,
    Again,
    DigestClaim,
    DraftMessage,
    Message,
    MessageState,
    ModelSummary,
    Rebuild,
    RecipientResult,
    RecipientState,
    SummaryClaim,
)
from pipeline.model.pictures import PICTURE, PICTURES, PagePicture, is_same_picture
from pipeline.model.runs import DRY_RUN, Health, Outcome, Progress, Run

__all__ = [
    "DRY_RUN",
    "PICTURE",
    "PICTURES",
    "REBUILD_STEPS",
    "Again",
    "Change",
    "ChangeKind",
    "DigestClaim",
    "Download",
    "DownloadState",
    "DraftMessage",
    "Exchange",
    "FrontierState",
    "HeaderLines",
    "Health",
    "Item",
    "Json",
    "LoginCookie",
    "Message",
    "MessageState",
    "ModelSummary",
    "Outcome",
    "Page",
    "PageOutcome",
    "PagePicture",
    "PictureRequest",
    "Progress",
    "QueuedDownload",
    "Rebuild",
    "RecipientResult",
    "RecipientState",
    "Reject",
    "RenderedPage",
    "Request",
    "Run",
    "StoredFile",
    "SummaryClaim",
    "Transfer",
    "is_same_picture",
    "together",
]
