"""The service (`pipeline serve`): service.py composes it; each other module is one of its parts."""

from pipeline.service.service import serve

__all__ = ["serve"]
