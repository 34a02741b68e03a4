"""Errors of the web archive."""

from __future__ import annotations

from pipeline.errors import PipelineError


class ArchiveError(PipelineError):
    """A file of the archive cannot be read."""


class RecordError(ArchiveError):
    """Bytes of a file are no whole record."""
