"""Loaded by the forkserver alone, before all else it loads for its children.

What it loads stays, and is not looked through for garbage meanwhile. With its parent it ends at once, instead of
taking all of it apart: 0.2 s in which whoever reads our output would wait for the end of it.
"""

from __future__ import annotations

import atexit
import gc
import os

gc.disable()  # each child enables it again
atexit.register(os._exit, 0)
