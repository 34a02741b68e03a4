"""Loaded by the forkserver alone: with its parent it ends at once, instead of taking apart what it loaded for its children.

That is 0.2 s in which whoever reads our output would wait for the end of it.
"""

from __future__ import annotations

import atexit
import os

atexit.register(os._exit, 0)
