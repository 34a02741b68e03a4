"""Clients of object stores: obstore beside fsspec with s3fs.

The store is moto's S3 server, behind a relay that fails.

    python -m benchmarks.libraries.object_store        (needs s3fs beside the extra `s3`)

For each library: import, upload of 1 GB in parts, a second conditional write, and what a caller sees while the server hangs, answers
503, or closes connections in the middle, each with the time it took. A parent that used the library then forks a child that uses it.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.servers.s3 import ACCESS_KEY, SECRET_KEY, Fault, S3Server

SIZE_BYTES, PART_BYTES, TIMEOUT_S, RETRIES = 1_000_000_000, 8 * 1024 * 1024, 3, 2
FAULTS: tuple[Fault, ...] = ("refuse", "hang", "503", "cut")


class Obstore:
    """obstore: the Rust crate object_store."""

    def __init__(self, url: str) -> None:
        import obstore  # noqa: PLC0415  measured
        from obstore.store import S3Store  # noqa: PLC0415
        self.module = obstore
        self.store = S3Store("files", endpoint=url, access_key_id=ACCESS_KEY, secret_access_key=SECRET_KEY, region="us-east-1",
                             checksum_algorithm="sha256", copy_if_not_exists="multipart",
                             client_options={"allow_http": True, "timeout": f"{TIMEOUT_S}s", "connect_timeout": f"{TIMEOUT_S}s"},
                             retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=30)})

    def upload(self, path: Path, key: str) -> None:
        self.module.put(self.store, key, path, chunk_size=PART_BYTES, max_concurrency=2)

    def create(self, key: str) -> None:
        self.module.put(self.store, key, b"x", mode="create")

    def create_large(self, path: Path, key: str) -> None:
        self.upload(path, f"{key}.new")
        self.module.copy(self.store, f"{key}.new", key, overwrite=False)


class S3fs:
    """fsspec with s3fs: aiobotocore in a thread with an event loop."""

    def __init__(self, url: str) -> None:
        import s3fs  # noqa: PLC0415  measured
        self.files = s3fs.S3FileSystem(
            key=ACCESS_KEY, secret=SECRET_KEY, endpoint_url=url, use_listings_cache=False,
            config_kwargs={"connect_timeout": TIMEOUT_S, "read_timeout": TIMEOUT_S, "retries": {"total_max_attempts": RETRIES + 1, "mode": "standard"},
                           "request_checksum_calculation": "when_supported"})
        self.files.retries = 1  # s3fs repeats what botocore has repeated

    def upload(self, path: Path, key: str, mode: str = "wb") -> None:
        with path.open("rb") as source, self.files.open(f"files/{key}", mode, block_size=PART_BYTES) as target:
            while part := source.read(1024 * 1024):
                target.write(part)

    def create(self, key: str) -> None:
        with self.files.open(f"files/{key}", "xb") as target:
            target.write(b"x")

    def create_large(self, path: Path, key: str) -> None:
        self.upload(path, key, "xb")


def _outcome(call: Callable[[], Any]) -> str:
    begun = time.monotonic()
    try:
        call()
        what = "done"
    except Exception as error:  # noqa: BLE001  what a caller would see
        what = f"{type(error).__module__}.{type(error).__name__}"
    return f"{what} after {time.monotonic() - begun:.1f} s"


def _memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _in_child(call: Callable[[], Any]) -> str:
    """Fork, call in the child, and say how that ended."""
    pid = os.fork()
    if pid == 0:
        try:
            call()
            os._exit(0)
        except BaseException:  # noqa: BLE001  the parent reports it
            os._exit(1)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return "done" if status == 0 else f"ended with {status}"
        time.sleep(0.05)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return "hangs"


def measure(name: str, folder: Path) -> dict[str, str]:
    """Measure one library in this process."""
    before, begun, cpu = _memory_mb(), time.monotonic(), time.process_time()
    found: dict[str, str] = {}
    with S3Server() as server:
        begun, cpu = time.monotonic(), time.process_time()
        client: Any = {"obstore": Obstore, "s3fs": S3fs}[name](server.url)
        found["import and client"] = f"{time.process_time() - cpu:.2f} s CPU, {_memory_mb() - before:.0f} MB"
        large, small = folder / "large", folder / "small"
        with large.open("wb") as file:
            file.truncate(SIZE_BYTES)
        small.write_bytes(bytes(20_000_000))
        client.upload(small, "warm")
        before, begun, cpu = _memory_mb(), time.monotonic(), time.process_time()
        client.upload(large, "large")
        found["upload of 1 GB"] = f"{time.monotonic() - begun:.1f} s, {time.process_time() - cpu:.1f} s CPU, +{_memory_mb() - before:.0f} MB"
        client.create("once")
        found["second write of one byte, If-None-Match: *"] = _outcome(lambda: client.create("once"))
        client.create_large(small, "big")
        found["second write of 20 MB, If-None-Match: *"] = _outcome(lambda: client.create_large(small, "big"))
        for fault in FAULTS:
            with server.failing(fault):
                found[f"upload of 20 MB, {fault}"] = _outcome(lambda: client.upload(small, "f"))
        with server.failing("503", times=1):
            found["upload of 20 MB, one 503"] = _outcome(lambda: client.upload(small, "f"))
        found["in a forked child"] = _in_child(lambda: client.upload(small, "child"))
    return found


def main() -> None:
    """Print a table of both libraries."""
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))
        return
    columns = {}
    for name in ("obstore", "s3fs"):
        with tempfile.TemporaryDirectory() as folder:
            out = subprocess.run([sys.executable, "-m", "benchmarks.libraries.object_store", name, folder], check=True, capture_output=True,
                                 text=True, timeout=600).stdout
        columns[name] = json.loads(out.splitlines()[-1])
    print("| | obstore | s3fs |\n|---|---|---|")
    for what in columns["obstore"]:
        print(f"| {what} | {columns['obstore'][what]} | {columns['s3fs'][what]} |")


if __name__ == "__main__":
    main()
