"""Set up signals and garbage collection in the forkserver. The forkserver imports this module first.

The garbage collector is off, because everything that the forkserver loads stays loaded. At its exit the forkserver skips Python's
cleanup, which would take 0.2 s: the forkserver keeps the standard output of the command open, so a program that reads this output
would have to wait.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal

from pipeline.workers.signals import STOP_SIGNALS

# A stop signal to the service's process group (Ctrl-C, `timeout`) or control group must reach only the service, which then asks its
# children to stop at a checkpoint. Children inherit the new session and the ignored signals from the forkserver. Until the following
# lines are executed, the signals are blocked by the inherited signal mask (stop_signals_blocked).
with contextlib.suppress(PermissionError):  # the process is already a session leader
    os.setsid()
for number in STOP_SIGNALS:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

gc.disable()  # each child enables garbage collection
atexit.register(os._exit, 0)
