"""The faulty environment of a service: site, mail server, disk and clock."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.program import Program
from tests.servers.smtp import Fault

PAGES = 4
ITEMS_A_PAGE = 5
ARRIVALS_A_PAGE = 20
FILES = 3
FILE_BYTES = 60_000
SLOW_S = 0.3


class ChangingSite:
    """Pages whose items change, come to stay, or come and go, and files of many versions.

    It fails, dawdles and hangs up in mid-sentence as the generator says, until it is calm.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._lock = threading.Lock()
        self.calm = False
        self.shown: dict[str, int] = {}
        """What the site shows now: the value of each key."""
        self.ever: set[str] = set()
        """Every key that came to stay."""
        self.faults: Counter[str] = Counter()
        self._fleeting = {f"{page}-fleeting" for page in range(PAGES)}
        self._came = 0
        self._versions = dict.fromkeys(range(FILES), 0)
        for page in range(PAGES):
            for n in range(ITEMS_A_PAGE):
                self._show(f"{page}-{n}")
        self.site = PageSite({f"/{page}": self._page for page in range(PAGES)}
                             | {f"/f{number}": self._file for number in range(FILES)})

    def _show(self, key: str) -> None:
        self.shown[key] = 0
        if key not in self._fleeting:
            self.ever.add(key)

    def _page(self, asked: Asked) -> Answer:
        page = int(asked.path[1:])
        with self._lock:
            fault = self._fault()
            if fault == "down":
                return Answer("down", 503)
            if not self.calm:
                self._change(page)
            items = "".join(f"<p><b>{key}</b><i>{value}</i></p>" for key, value in self.shown.items()
                            if key.startswith(f"{page}-"))
        links = "".join(f"<a class=page href=/{other}>{other}</a>" for other in range(PAGES))
        files = "".join(f"<a class=file href=/f{number}>f</a>" for number in range(FILES))
        return self._given(fault, Answer(f"{items}{links}{files}"))

    def _change(self, page: int) -> None:
        for key in self.shown:
            if key.startswith(f"{page}-") and self._rng.random() < 0.3:
                self.shown[key] += 1
        if self._rng.random() < 0.05 and self._came < ARRIVALS_A_PAGE * PAGES:
            self._came += 1
            self._show(f"{page}-new-{self._came}")
        fleeting = f"{page}-fleeting"
        if self._rng.random() < 0.2 and self.shown.pop(fleeting, None) is None:
            self._show(fleeting)

    def _file(self, asked: Asked) -> Answer:
        number = int(asked.path[2:])
        with self._lock:
            fault = self._fault()
            if fault == "down":
                return Answer("down", 503)
            if not self.calm and self._rng.random() < 0.05:
                self._versions[number] += 1
            version = self._versions[number]
        tag = f'"{number}-{version}"'
        if asked.headers.get("If-None-Match") == tag:
            return Answer(status=304, headers={"ETag": tag})
        return self._given(fault, Answer(content_of(number, version), headers={
            "Content-Type": "application/octet-stream", "ETag": tag}))

    def _fault(self) -> str:
        if self.calm:
            return ""
        kind = self._rng.choices(("", "down", "cut", "slow"), (86, 5, 4, 5))[0]
        if kind:
            self.faults[kind] += 1
        return kind

    def _given(self, fault: str, answer: Answer) -> Answer:
        if fault == "slow":
            time.sleep(SLOW_S)
        elif fault == "cut":
            answer.cut = len(answer.body) // 2
        return answer

    def versions(self, number: int) -> list[str]:
        """The SHA-256 of all there were of this file, the newest last."""
        return [hashlib.sha256(content_of(number, version)).hexdigest() for version in range(self._versions[number] + 1)]


def content_of(number: int, version: int) -> bytes:
    return random.Random(f"{number}/{version}").randbytes(FILE_BYTES)


def mail_faults(rng: random.Random) -> list[Fault]:
    """What the mail server does instead of its duty in one round: nothing, mostly."""
    if rng.random() < 0.6:
        return []
    stage = rng.choice(("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "END", "END"))
    reply = rng.choice(("451 4.3.0 later", "421 4.3.0 going down", "550 5.7.1 no", ""))
    return [Fault(stage, reply, times=rng.randint(1, 3), hang_up=rng.random() < 0.5,
                  address="other@example.com" if stage == "RCPT" and rng.random() < 0.5 else "",
                  keep=stage == "END" and not reply)]


class Disk:
    """The disk under data_dir, small enough to be filled."""

    def __init__(self, folder: Path) -> None:
        self._filler = folder / "filler"
        self.full_since: float | None = None
        self.spans: list[tuple[float, float]] = []
        """When it was full, by the monotonic clock."""

    def fill(self) -> None:
        """To the last block, whoever writes beside."""
        self.full_since = time.monotonic()
        with self._filler.open("ab", buffering=0) as file:
            size, step = 0, 1 << 26
            while step >= 4096:
                try:
                    os.posix_fallocate(file.fileno(), size, step)
                except OSError:
                    step //= 2
                else:
                    size += step

    def empty(self) -> None:
        if self.full_since is not None:
            self._filler.unlink(missing_ok=True)
            self.spans.append((self.full_since, time.monotonic()))
            self.full_since = None


class Clock:
    """What libfaketime tells every process of the program: now, and so many seconds."""

    LIBRARY = "/usr/lib/*/faketime/libfaketimeMT.so.1"
    JUMPS_S = (0, 60, -60, 7200, -7200, 86_400, -86_400, 40 * 86_400)

    def __init__(self, folder: Path, program: Program) -> None:
        self._file = folder / "clock"
        self.set(0)
        program.environment |= {"LD_PRELOAD": self.library() or "", "FAKETIME_TIMESTAMP_FILE": str(self._file),
                                "FAKETIME_CACHE_DURATION": "1", "DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "0"}

    @classmethod
    def library(cls) -> str | None:
        return next(iter(glob.glob(cls.LIBRARY)), None)

    def set(self, offset_s: int) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset_s:+d}s\n", "ascii")
        fresh.replace(self._file)


def processes_in(folder: Path) -> set[tuple[int, str]]:
    """Every process whose working directory is this folder, whoever its parent is now: its id and when it began."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError, IndexError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] not in "ZX" and (entry / "cwd").samefile(folder):
                    found.add((int(entry.name), fields[19]))
    return found


def soon(question: Callable[[], object], *, within_s: float) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + within_s
    while not question():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
