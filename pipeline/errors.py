"""The error classes of the pipeline, their exit codes and the form of their messages.

    PipelineError                1   a run or a delivery failed
    ├── UsageError               2   a command was used incorrectly, or a port or address cannot be used
    │   └── SettingsError        2   settings.toml has problems; lists all of them
    ├── SessionError             3   the session cannot be used
    │   ├── LoginError           3   the login failed or could not be verified
    │   └── CookieError          3   a cookie file or a cookie header cannot be read
    ├── ProxyError               4   the proxy is down or refused the request
    ├── FetchError               5   the site did not send a usable response
    │   └── TlsError             5   the site's certificate cannot be verified
    ├── DownloadError            6   a file did not arrive completely
    │   └── DiskFullError        6   the disk is full
    ├── MailError                7   a message was not accepted
    ├── StoreError               8   the database cannot be used
    │   └── LeaseLostError       8   another process has taken over the work
    ├── HeartbeatError           9   the port is in use, or the service does not answer
    │   └── HeartbeatBusyError  11   the service is too busy for another connection
    ├── SpiderError             10   the spider's own code or rules failed
    └── BrowserError            12   the browser is missing, does not start, or has crashed

The numbers are exit codes. An error message says what happened, where, and how to fix it. The attribute `retry` of a
fetch, download or delivery error says whether another attempt can succeed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.text import counted, escape_line


class PipelineError(Exception):
    """An error that a user can act on. It is shown as one line and never as a traceback.

    what: what happened. where: the file, settings key, host or spider that the error is about. fix: how to fix the problem; "" if
    there is nothing to do. retry: whether another attempt can succeed without any change.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str = "", fix: str = "", retry: bool = False) -> None:
        super().__init__(what, where, fix, retry)
        self.what = what
        self.where = where
        self.fix = fix
        self.retry = retry

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}; {self.fix}" if self.fix else head

    def __reduce__(self) -> tuple[object, ...]:
        # Errors are pickled to pass from a child process to its parent. The default pickling would lose keyword-only arguments.
        return (_rebuild, (type(self), self.what, self.where, self.fix, self.retry))


def _rebuild(kind: type[PipelineError], what: str, where: str, fix: str, retry: bool) -> PipelineError:
    return kind(what, where=where, fix=fix, retry=retry)


class UsageError(PipelineError):
    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One problem in settings.toml.

    key: dotted path of the settings key, such as spiders.books.proxy; "" for a problem of the whole file. text: what is wrong.
    file: the file of settings.d that contains the key, such as settings.d/books.toml; "" for settings.toml itself.
    """

    key: str
    text: str
    file: str = ""

    def __str__(self) -> str:
        return escape_line(f"{self.key}: {self.text}" if self.key else self.text)


class SettingsError(UsageError):
    """All problems of one settings file and of the files of settings.d. The error text has one line for each problem."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        super().__init__(counted(len(problems), "problem"), where=file)
        self.file = file
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """Return one line for each problem, with the file that contains it."""
        return [f"{escape_line(problem.file) or self.file}: {problem}" for problem in self.problems]

    def __reduce__(self) -> tuple[object, ...]:
        return (SettingsError, (self.file, self.problems))


class SessionError(PipelineError):
    exit_code = 3


class LoginError(SessionError):
    pass


class CookieError(SessionError):
    pass


class ProxyError(PipelineError):
    exit_code = 4


class FetchError(PipelineError):
    exit_code = 5


class TlsError(FetchError):
    pass


class DownloadError(PipelineError):
    exit_code = 6


class DiskFullError(DownloadError):
    pass


class MailError(PipelineError):
    """A message was not accepted. retry_after_s: how many seconds the server asked to wait before another attempt; 0 if it did not."""

    exit_code = 7

    def __init__(self, what: str, *, where: str = "", fix: str = "", retry: bool = False, retry_after_s: float = 0.0) -> None:
        super().__init__(what, where=where, fix=fix, retry=retry)
        self.retry_after_s = retry_after_s


class StoreError(PipelineError):
    exit_code = 8


class LeaseLostError(StoreError):
    pass


class HeartbeatError(PipelineError):
    exit_code = 9


class HeartbeatBusyError(HeartbeatError):
    exit_code = 11


class SpiderError(PipelineError):
    exit_code = 10


class BrowserError(PipelineError):
    exit_code = 12


def family(name: str) -> type[PipelineError]:
    """Return the error class with this name, or PipelineError for an unknown name.

    name: a class name such as "FetchError", as the database records it for a failed run.
    """
    found = globals().get(name)
    return found if isinstance(found, type) and issubclass(found, PipelineError) else PipelineError
