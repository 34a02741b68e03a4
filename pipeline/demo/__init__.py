"""The bundled demo site: a small shop with a login, for trying the pipeline without Internet access."""

from pipeline.demo.site import DemoSite

__all__ = ["DemoSite"]
