"""The limit of open files (RLIMIT_NOFILE): raise it, and how many connections it allows."""

from __future__ import annotations

import resource

from pipeline.errors import UsageError

_OTHER_FILES = 256
"""Open files reserved for the rest of the service."""
LEAST_OPEN_FILES = 128
"""An idle service has about 30 open files; each run, download and delivery has a few more."""
OPEN_FILES_FIX = "raise it to {}: `ulimit -n`, LimitNOFILE= of the unit, `--ulimit nofile=` of the container"


def affordable(connections: int) -> int:
    """`connections`, or as many as the soft limit of open files leaves room for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return connections if soft == resource.RLIM_INFINITY else max(1, min(connections, soft - _OTHER_FILES))


def open_files_for(connections: int) -> int:
    """Open files that a service needs; a refused connection has a descriptor for a moment, too."""
    return 2 * connections + _OTHER_FILES


def possible_open_files(wanted: int) -> int:
    """How many of `wanted` open files this process may have once it raised its soft limit (setrlimit(2))."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (soft, hard):
        return wanted
    return min(wanted, max(soft, hard))


def raise_open_files(connections: int) -> str:
    """Raise the soft limit of open files to what `connections` need, or to the hard limit.

    Returns a message if the limit is still too low for them, otherwise "". Raises UsageError when the limit is too low for any service.
    """
    wanted = open_files_for(connections)
    possible = possible_open_files(wanted)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < possible:
        resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
    if possible < LEAST_OPEN_FILES:
        raise UsageError(f"the limit of open files is {possible}, but the service needs at least {LEAST_OPEN_FILES}",
                         where="ulimit -n", fix=OPEN_FILES_FIX.format(wanted))
    return short_of_files(connections)


def short_of_files(connections: int) -> str:
    """A message if the limit of open files is too low for `connections`, otherwise ""."""
    wanted = open_files_for(connections)
    possible = possible_open_files(wanted)
    if possible >= wanted:
        return ""
    return (f"the limit of open files is {possible}, but {wanted} are needed: the heartbeat accepts only "
            f"{max(1, min(connections, possible - _OTHER_FILES))} of {connections} connections")
