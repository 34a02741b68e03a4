"""Processes that write segments, killed at random moments.

Run it with `python -m tests.archive.torture --rounds 200`.

After each kill: the parts are repaired, every record that the process reported as written is in a file, each once, index and file agree,
`warcio check` finds every record valid, and every revisit record refers to a record that exists.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import tempfile
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path

from pipeline.archive.format import cdxj
from pipeline.archive.format.members import records_of
from pipeline.archive.writing.repair import describe, repair, unfinished
from tests.archive.exchanges import NOW, exchange, warcio_check, writer

PAGES = 40
"""Different URLs: most pages of a longer run are revisits."""


def write(folder: Path, seed: int, reports: Connection) -> None:
    """The main function of a child: write batches until the process is killed, and report each one that is on the disk."""
    randomness, segments, number = random.Random(seed), writer(folder), 0
    while True:
        batch = []
        for _ in range(randomness.randrange(1, 8)):
            number += 1
            page = randomness.randrange(PAGES)
            changed = randomness.random() < 0.1
            body = randomness.randbytes(randomness.choice([10, 3000, 60_000])) if changed else b"page %d" % page * 50
            batch.append([exchange(f"/{page}?{seed}-{number}", body=body) if changed else exchange(f"/{page}", after_s=number / 1000, body=body)])
        now = NOW + timedelta(hours=number / 20)  # over several midnights
        if randomness.random() < 0.5:
            segments.write(batch, now)
        else:
            segments.hold(batch, now)
            if randomness.random() < 0.8:  # otherwise nobody says which are kept, as when the disk is full then: all are
                kept = [index for index in range(len(batch)) if randomness.random() < 0.5]
                segments.keep(kept)
                batch = [batch[index] for index in kept]
        reports.send([page[0].url for page in batch])


def kills(folder: Path, *, rounds: int, randomness: random.Random) -> int:
    """Return the number of records after `rounds` processes that were killed."""
    context = multiprocessing.get_context("fork")
    reported: list[str] = []
    for _ in range(rounds):
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=write, args=(folder, randomness.randrange(10**6), sender))
        child.start()
        sender.close()
        try:
            for _ in range(randomness.randrange(1, 12)):  # killed while it writes the batch after these
                reported += receiver.recv()
            if receiver.poll(randomness.random() * 0.01):
                reported += receiver.recv()
        finally:
            os.kill(child.pid or 0, signal.SIGKILL)
            child.join()
        while receiver.poll():
            try:
                reported += receiver.recv()
            except EOFError:
                break
        for part in unfinished(folder):
            repair(part)
    return checked(folder, reported)


def checked(folder: Path, reported: list[str]) -> int:
    assert not unfinished(folder)
    assert not list(folder.glob("*.part"))
    found: list[str] = []
    ids, referred, count = set(), set(), 0
    for path in sorted(folder.glob("*.warc.gz")):
        index = path.with_name(path.name.replace(".warc.gz", ".cdxj"))
        if not index.exists():
            describe(path, index)
        lines = index.read_bytes().splitlines(keepends=True)
        made = index.with_suffix(".made")
        describe(path, made)
        assert made.read_bytes() == b"".join(lines), path
        made.unlink()
        found += [cdxj.parse(line).url for line in lines]
        assert warcio_check(path) == ""
        with path.open("rb") as file:
            for record in records_of(file):
                count += 1
                ids.add(record.headers["warc-record-id"])
                referred |= {record.headers["warc-refers-to"]} if record.kind == "revisit" else set()
    assert referred <= ids
    assert not set(reported) - set(found)
    left = list(found)
    for url in reported:
        left.remove(url)  # each reported page has a record of its own
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    print(f"archive: {arguments.rounds} kills, seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        count = kills(Path(folder), rounds=arguments.rounds, randomness=random.Random(arguments.seed))
    print(f"archive: {count} records, index and files agree")


if __name__ == "__main__":
    main()
