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
_DISABLED = "--disable-features="
_UNUSED = "WebUIOmniboxPopup,WebUIOmniboxAimPopup,WebUIOmniboxFullPopup,SpareRendererForSitePerProcess"
"""Pages of Chromium's own window, which nobody sees, take a process of 68 MB, and the spare renderer 15 MB. Chromium reads only the last list
of features, so that these are added to the driver's."""


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
    arguments = tuple(f"{each},{_UNUSED}" if each.startswith(_DISABLED) else each for each in arguments if not each.startswith(_PROFILE))
    os.execv(program, [program, *arguments, _PROFILE + profile])  # noqa: S606  the browser of the settings


if __name__ == "__main__":
    main(*sys.argv[1:])
