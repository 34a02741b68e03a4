"""Loaded by the forkserver alone, before all else it loads for its children.

What it loads stays, and is not looked through for garbage meanwhile. With its parent it ends at once, instead of
taking all of it apart: 0.2 s in which whoever reads our output would wait for the end of it.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal

from pipeline.workers.signals import STOP_SIGNALS

# A signal to the service's whole process group (Ctrl-C, `timeout`) or control group is for the service: it asks its
# children for a checkpoint. They inherit both; until here the mask of whoever started us held such signals back.
with contextlib.suppress(PermissionError):  # a leader already
    os.setsid()
for number in STOP_SIGNALS:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

gc.disable()  # each child enables it again
atexit.register(os._exit, 0)
