"""The service (`pipeline serve`): composition in service.py, one module for each thing it does beside it."""

from pipeline.service.service import serve

__all__ = ["serve"]
