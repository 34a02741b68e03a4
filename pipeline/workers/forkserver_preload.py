"""Signals and garbage collection of the forkserver, which imports this module before all others.

The garbage collector is off: what the forkserver loads stays loaded. The forkserver exits without Python's clean-up,
which takes 0.2 s, for which a program that reads our output would have to wait.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal

from pipeline.workers.signals import STOP_SIGNALS

# A stop signal to the service's process group (Ctrl-C, `timeout`) or control group is for the service alone, which then asks
# its children for a checkpoint. Children inherit the new session and the ignored signals from here. Until this line the
# signals are blocked, by the mask that the forkserver inherited (stop_signals_blocked).
with contextlib.suppress(PermissionError):  # it is a session leader already
    os.setsid()
for number in STOP_SIGNALS:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

gc.disable()  # each child enables it
atexit.register(os._exit, 0)
