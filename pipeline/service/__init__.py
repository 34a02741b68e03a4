"""The service (`pipeline serve`).

Each module contains one part of the service, and service.py combines the parts.
"""

from pipeline.service.service import serve

__all__ = ["serve"]
