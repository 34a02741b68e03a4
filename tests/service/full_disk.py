"""Fill the disk under data_dir at one moment after the other of a running service, and free it again.

Each time the heartbeat reports it, and the service continues by itself when there is space: every value of the site
arrives in exactly one mail.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import HeartbeatError
from tests.download.torture import mount
from tests.servers.pages import Answer, Asked, PageSite
from tests.servers.program import Program, eventually
from tests.servers.smtp import Fault, SmtpServer
from tests.service.hostile import Disk
from tests.service.proof import changes_in

SETTINGS = """
[pipeline]
keep_free = "1MB"
[heartbeat]
port = {port}
[mail]
host = "127.0.0.1"
port = {mail}
security = "none"
[spiders.s]
start = "{url}/"
download = ["a"]
schedule = "every 1s"
robots = false
retries = 0
[spiders.s.items]
key = ["id"]
[spiders.s.items.fields]
id = "b"
value = "i"
[digests.d]
spiders = ["s"]
to = ["you@example.com"]
attach = ["jsonl"]
"""
DISK_BYTES = 32_000_000
FULL = 6


class World:
    """A service, its site and its mail server, each of which can fill the disk in passing."""

    def __init__(self, program: Program, disk: Disk) -> None:
        self.program = program
        self.disk = disk
        self.value = 0
        self.on: dict[str, threading.Event] = {}
        self.site = PageSite({"/": self._page, "/f": self._file})
        self.server = _Watched(self)

    def passes(self, moment: str) -> None:
        """The disk fills up here, when asked for once."""
        armed = self.on.pop(moment, None)
        if armed is not None:
            self.disk.fill()
            armed.set()

    def _page(self, asked: Asked) -> Answer:
        self.passes("page")
        return Answer(f"<b>x</b><i>{self.value}</i><a href=/f>f</a>", headers={"Set-Cookie": f"seen={time.monotonic_ns()}"})

    def _file(self, asked: Asked) -> Answer:
        self.passes("file")
        return Answer(str(self.value).encode() * 60_000, headers={"Content-Type": "application/octet-stream"})

    def told(self) -> Counter[str]:
        """How often each value arrived as what the item had become."""
        return Counter(change["after"]["value"] for one in self.server.received for change in changes_in(one.content))

    def reasons(self) -> list[str]:
        try:
            return list(self.program.status()["reasons"])
        except HeartbeatError:
            return []


class _Watched(SmtpServer):
    """Passes a moment at the start of a delivery, and one when it has a message and has not yet said so."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def take(self, stage: str, address: str = "") -> Fault | None:
        if stage == "MAIL":
            self._world.passes("delivery")
        elif stage == "DATA":
            self._world.passes("acceptance")
        return super().take(stage, address)


def at_start(world: World) -> None:
    """It says so and ends, or answers; with room it starts."""
    world.program.stop()
    world.disk.fill()
    world.program.start()
    code = world.program.answers_or_ends()
    assert code in (None, FULL), world.program.log()[-2000:]
    assert code is None or "free some disk space" in world.program.log()
    world.disk.empty()
    if code is not None:
        world.program.serve()


def while_it_claims(world: World) -> None:
    """Nothing is asked for: only what is due has to be claimed."""
    world.disk.fill()
    time.sleep(2.5)


def while_it_renders(world: World) -> None:
    folder = world.program.data / "logs" / "digests"
    before = set(folder.iterdir()) if folder.exists() else set()
    eventually(lambda: folder.exists() and set(folder.iterdir()) - before, within_s=120)
    world.disk.fill()


def while_a_run_begins(world: World) -> None:
    """Its process can write nothing, not even how it ended; nor can the service, for a while."""
    folder = world.program.data / "logs" / "runs"
    before = set(folder.iterdir())
    eventually(lambda: set(folder.iterdir()) - before, within_s=120)
    world.disk.fill()
    eventually(lambda: not world.program.children_at_work(), within_s=120)


def while_it_is_backed_up(world: World) -> None:
    """The command says so, and leaves nothing behind."""
    world.disk.fill()
    target = world.program.data / "b.tar"
    done = world.program.run("backup", str(target))
    assert done.returncode == FULL, done
    assert "free some disk space" in done.stderr
    assert "Traceback" not in done.stderr
    assert not target.exists()
    assert not [path for path in world.program.data.iterdir() if path.name.startswith(".b.tar")]


def at(moment: str) -> Callable[[World], None]:
    def fill(world: World) -> None:
        filled = world.on[moment] = threading.Event()
        assert filled.wait(120), f"there was no {moment}"
    return fill


MOMENTS = {"a page is committed": at("page"), "a file is fetched": at("file"), "a mail is delivered": at("delivery"),
           "a mail is accepted": at("acceptance"), "a digest is rendered": while_it_renders, "a slot is claimed": while_it_claims,
           "a run begins": while_a_run_begins, "a backup is made": while_it_is_backed_up, "it starts": at_start}


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir(mode=0o700)
    assert mount(folder, DISK_BYTES)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_at(program: Program, moments: list[str]) -> None:
    """Run the service through these moments. Raises AssertionError."""
    with small_disk(program.data):
        disk = Disk(program.data)
        world = World(program, disk)
        with world.site, world.server:
            text = SETTINGS.format(port=program.port, mail=world.server.port, url=world.site.url)
            (program.folder / "settings.toml").write_text(text, "utf-8")
            program.serve()
            try:
                for moment in moments:
                    _fill_once(world, moment)
                assert program.stop() == 0
            finally:
                program.close()
    twice = {value: count for value, count in world.told().items() if count > 1}
    assert not twice, f"told twice: {twice}"
    assert "Traceback" not in program.log()


def _fill_once(world: World, moment: str) -> None:
    eventually(lambda: world.told()[str(world.value)], within_s=120)
    world.value += 1
    try:
        MOMENTS[moment](world)
        if world.disk.full_since is not None:
            eventually(lambda: any(reason.startswith("disk") for reason in world.reasons()), within_s=120)
            world.disk.empty()
        eventually(lambda: world.told()[str(world.value)], within_s=120)
    except AssertionError as error:
        last = max((world.program.data / "logs/runs").iterdir(), key=lambda log: log.stat().st_mtime)
        raise AssertionError("\n".join((f"the disk was full while {moment}: {error}", *world.reasons(),
                                        world.program.log()[-3000:], last.read_text("utf-8")))) from None
