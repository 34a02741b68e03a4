"""The service (`pipeline serve` and `pipeline worker`).

Each module contains one part of the service, and service.py combines the parts.
"""

from pipeline.service.service import ServiceOptions, serve

__all__ = ["ServiceOptions", "serve"]
