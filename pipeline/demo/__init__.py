"""The bundled demo site: a small shop behind a login, so that the pipeline can be tried without a network."""

from pipeline.demo.site import DemoSite

__all__ = ["DemoSite"]
