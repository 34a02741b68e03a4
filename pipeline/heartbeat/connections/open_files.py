"""Increases the limit of open files (RLIMIT_NOFILE), and computes how many connections it allows."""

from __future__ import annotations

import resource

from pipeline.errors import UsageError

_OTHER_FILES = 256
"""Number of open files reserved for the rest of the service."""
LEAST_OPEN_FILES = 128
"""Minimum limit of open files. An idle service has about 30 open files; each run, download and delivery needs a few more."""
OPEN_FILES_FIX = "increase the limit to {} with `ulimit -n`, LimitNOFILE= in the systemd unit, or `--ulimit nofile=` for a container"


def affordable(connections: int) -> int:
    """Return `connections`, or a smaller number if the soft limit of open files allows fewer connections."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return connections if soft == resource.RLIM_INFINITY else max(1, min(connections, soft - _OTHER_FILES))


def open_files_for(connections: int) -> int:
    """Return how many open files a service with `connections` connections needs.

    Two files are counted for each connection, because a connection that is being refused needs a file descriptor, too.
    """
    return 2 * connections + _OTHER_FILES


def possible_open_files(wanted: int) -> int:
    """Return how many open files, up to `wanted`, this process can have if it increases its soft limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (soft, hard):
        return wanted
    return min(wanted, max(soft, hard))


def raise_open_files(connections: int) -> str:
    """Increase the soft limit of open files as far as `connections` connections need.

    The soft limit cannot exceed the hard limit. Returns a warning if the increased limit is too low for `connections`
    connections, otherwise "". Raises UsageError if it is too low even for a service without clients.
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
    """Return a warning if the limit of open files is too low for `connections`, otherwise ""."""
    wanted = open_files_for(connections)
    possible = possible_open_files(wanted)
    if possible >= wanted:
        return ""
    return (f"the limit of open files is {possible}, but the service needs {wanted}: the heartbeat accepts only "
            f"{max(1, min(connections, possible - _OTHER_FILES))} connections instead of {connections}")
