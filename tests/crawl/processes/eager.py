"""Importing this module lets every crawl reach the thresholds of `processes = "auto"`.

The machine of the tests may be busy.

The environment variable CORES says how many cores may be used.
"""

from __future__ import annotations

import os

from pipeline.crawl.processes import scaling

CORES = int(os.environ.get("CORES", "2"))
scaling.THRESHOLDS = scaling.Thresholds(left_s=0, busy=0, idle_cores=-1, memory=10, times_available=0)
scaling.LOOK_EVERY_S = 0.05
scaling.usable_cores = lambda: CORES
