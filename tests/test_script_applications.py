"""Tests with real applications whose pages exist only after JavaScript was executed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.program import Program, eventually
from tests.servers.verdaccio import PASSWORD, USER, verdaccio

SETTINGS = """
[mail]
maildir = "mails"
sender = "pipeline@kunde.test"
[spiders.packages]
start = "URL/"
render = { wait_for = "[data-testid=package-title]" }
robots = false
retries = 0
items.each = "[data-testid=package-item-list]"
items.key = ["name"]
items.fields = { name = "[data-testid=package-title]" }
[spiders.packages.login]
url = "URL/"
browser = true
form = "[data-testid=header--button-login]"
steps = [{ fields = { username = "USER", password = { env = "REGISTRY_PASSWORD" } } }]
check = "[data-testid=logInDialogIcon]"
[digests.packages]
spiders = ["packages"]
to = ["team@kunde.test"]
schedule = "every 1s"
"""


@pytest.mark.needs("chromium", "verdaccio")
def test_packages_that_a_react_application_shows_after_its_login_come_by_mail(program: Program, tmp_path: Path) -> None:
    program.environment["REGISTRY_PASSWORD"] = PASSWORD
    with verdaccio(tmp_path / "registry") as registry:
        for name in ("open-tea", "secret-cake"):
            registry.publish(name)
        program.write(SETTINGS.replace("URL", registry.url).replace("USER", USER))
        first = program.run("run", "packages", timeout_s=180)
        assert "2 items, 2 new" in first.stdout, first.stdout + first.stderr
        stored = program.data / "jars" / "packages.storage"
        token = stored.read_bytes()
        registry.publish("secret-milk")
        second = program.run("run", "packages", timeout_s=180)
        assert "3 items, 1 new" in second.stdout, second.stdout + second.stderr
        assert stored.read_bytes() == token  # no new login
        program.serve()
        mails = eventually(lambda: [file.read_text("utf-8") for file in program.folder.glob("**/mails/new/*")], within_s=60)
    assert all(name in "".join(mails) for name in ("open-tea", "secret-cake", "secret-milk"))
