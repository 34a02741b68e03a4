"""`pipeline shell`: replace this process by a Python console with a page of a spider."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import pipeline
from pipeline.settings import Settings
from pipeline.store import open_store_of

_MODULE = "pipeline.workers.pages.shell"


def open_shell(settings: Settings, name: str, url: str) -> NoReturn:
    """Execute the console in place of this process, which must not load Scrapy. name: the name of a spider."""
    open_store_of(settings).close()  # creates data_dir, as the other commands do
    package = str(Path(pipeline.__file__).parents[1])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    sys.stdout.flush()
    # -P: a module of the user's folder must not hide a module of Python
    os.execve(sys.executable, [sys.executable, "-P", "-m", _MODULE, settings.file, name, url],  # noqa: S606  no shell is needed
              os.environ | {"PYTHONPATH": os.pathsep.join(paths)})
