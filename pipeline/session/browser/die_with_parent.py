"""Start a browser that is killed when its parent process ends, and that has a given profile.

    python die_with_parent.py PROFILE PROGRAM ARGUMENT …

The parent is the driver of Playwright. The kernel kills this process when the parent ends (PR_SET_PDEATHSIG, prctl(2)), also after
this process has become the browser. Then the browser's own processes end, because their connections to it are closed. This file
runs alone, without the packages of the program.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys

_PR_SET_PDEATHSIG = 1
_FROM_DRIVER = 3
"""The file descriptor on which the browser reads the driver's commands (--remote-debugging-pipe)."""
_PROFILE = "--user-data-dir="


def main(profile: str, program: str, *arguments: str) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        pipe = select.poll()
        pipe.register(_FROM_DRIVER, 0)
        if any(event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, event in pipe.poll(0)):
            return  # the driver ended before the kernel knew what to do then
    for argument in arguments:
        if argument.startswith(_PROFILE):
            with contextlib.suppress(OSError):  # the empty folder that the driver has made outside of the profile's
                os.rmdir(argument.removeprefix(_PROFILE))
    os.execv(program, [program, *(argument for argument in arguments if not argument.startswith(_PROFILE)), _PROFILE + profile])  # noqa: S606  the browser of the settings


if __name__ == "__main__":
    main(*sys.argv[1:])
