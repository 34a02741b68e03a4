"""`pipeline serve`: the service, and what is timed in it (scheduling.py)."""

from pipeline.service.service import Service

__all__ = ["Service"]
