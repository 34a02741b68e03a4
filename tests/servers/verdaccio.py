"""Verdaccio, a registry of npm packages.

React builds its pages, and it keeps the token of a login in localStorage only.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.servers import ports

PROGRAM = Path(__file__).parents[1] / "applications" / "node_modules" / ".bin" / "verdaccio"
USER, PASSWORD = "ada", "geheim 7&x"
_CONFIG = """storage: ./storage
auth: {htpasswd: {file: ./htpasswd, max_users: 10}}
uplinks: {}
packages:
  'open-*': {access: $all, publish: $authenticated}
  '**': {access: $authenticated, publish: $authenticated}
log: {type: stdout, format: pretty, level: warn}
"""


class Verdaccio:
    """A running registry with one user. Only this user sees packages, except those whose name begins with "open-"."""

    def __init__(self, url: str) -> None:
        self.url = url
        told = self._send("PUT", f"/-/user/org.couchdb.user:{USER}", {"name": USER, "password": PASSWORD})
        self._token = str(told["token"])

    def publish(self, name: str, version: str = "1.0.0") -> None:
        """Publish a package, as `npm publish` does."""
        manifest = {"name": name, "version": version, "description": f"The package {name}"}
        data = json.dumps(manifest).encode()
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as tar:
            entry = tarfile.TarInfo("package/package.json")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        body, file = archive.getvalue(), f"{name}-{version}.tgz"
        dist = {"shasum": hashlib.sha1(body).hexdigest(), "tarball": f"{self.url}/{name}/-/{file}"}
        self._send("PUT", f"/{name}", {
            "_id": name, "name": name, "description": manifest["description"], "dist-tags": {"latest": version},
            "versions": {version: manifest | {"_id": f"{name}@{version}", "dist": dist}},
            "_attachments": {file: {"content_type": "application/octet-stream", "data": base64.b64encode(body).decode(), "length": len(body)}}})

    def _send(self, method: str, path: str, body: Any) -> Any:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._token}"} if hasattr(self, "_token") else {})
        request = urllib.request.Request(f"{self.url}{path}", json.dumps(body).encode(), headers, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)


@contextlib.contextmanager
def verdaccio(folder: Path) -> Iterator[Verdaccio]:
    """A registry in a folder, until the end of the block."""
    folder.mkdir()
    (folder / "config.yaml").write_text(_CONFIG, "utf-8")
    url = f"http://127.0.0.1:{ports.free_port()}"
    with (folder / "log").open("wb") as log, subprocess.Popen(
            [PROGRAM, "--config", "config.yaml", "--listen", url.removeprefix("http://")], cwd=folder, stdout=log, stderr=log,
            env=os.environ | {"HOME": str(folder)}) as process:
        try:
            _await(url, process)
            yield Verdaccio(url)
        finally:
            process.terminate()


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"{url}/-/ping", timeout=5):
                return
        except OSError:
            assert process.poll() is None, "Verdaccio has ended"
            assert time.monotonic() < deadline, "Verdaccio does not answer"
            time.sleep(0.1)
