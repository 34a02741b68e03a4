"""The service (`pipeline serve`): service.py combines its parts; each other module is one of them."""

from pipeline.service.service import serve

__all__ = ["serve"]
