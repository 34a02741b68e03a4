"""The service (`pipeline serve`): service.py combines the parts, which the other modules contain."""

from pipeline.service.service import serve

__all__ = ["serve"]
