"""The bundled demo site: a small shop with a login, for trying the pipeline without a network."""

from pipeline.demo.site import DemoSite

__all__ = ["DemoSite"]
