"""The bundled demo site: a small shop with a login, to try the pipeline without a network."""

from pipeline.demo.site import DemoSite

__all__ = ["DemoSite"]
