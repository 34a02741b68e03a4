"""A crawl of a site whose login, pages and session exist only after JavaScript was executed.

The crawl runs in the real child.
"""

from __future__ import annotations

import pytest

from pipeline.session.browser.process.program import BrowserProgram
from tests.servers.program import Program
from tests.servers.script_site import PASSWORD, script_site

SETTINGS = """
[spiders.s]
start = "URL/home"
render = { wait_for = "li" }
robots = false
retries = 0
items.each = "li"
items.key = ["name"]
items.fields = { name = "b" }
[spiders.s.login]
url = "URL/"
browser = true
check = "#user"
fields = { user-name = "ada" }
steps = [{ fields = { password = { env = "SCRIPT_PASSWORD" } } }]
"""


@pytest.mark.needs("chromium")
def test_a_session_in_the_storage_that_ends_in_mid_run_is_renewed_and_the_browser_of_the_run_and_of_try_checks_it(program: Program) -> None:
    program.environment["SCRIPT_PASSWORD"] = PASSWORD
    starts, browser = program.folder / "starts", program.folder / "counted-browser"
    browser.write_text(f'#!/bin/sh\necho started >> {starts}\nexec {BrowserProgram(program.folder).path("")} "$@"\n')
    browser.chmod(0o755)
    with script_site("two", "localStorage") as site:
        site.expires_at = 3  # after the login and its check
        program.write(f'[browser]\nexecutable = "{browser}"\n' + SETTINGS.replace("URL", site.url))
        done = program.run("run", "s", timeout_s=180)
        assert "1 page, 2 items, 2 new" in done.stdout, done.stdout + done.stderr
        assert len(site.logins) == 2
        assert len(starts.read_text().splitlines()) == 2  # for the login and the pages, and for the login in mid-run
        asked = site.asked
        starts.unlink()
        site.items.append("milk")
        done = program.run("run", "s", timeout_s=180)
        assert "1 page, 3 items, 1 new" in done.stdout, done.stdout + done.stderr
        assert len(site.logins) == 2
        assert site.asked > asked
        assert len(starts.read_text().splitlines()) == 1  # for the check of the old login, the pages, and the check at the end
        starts.unlink()
        done = program.run("try", "s", f"{site.url}/home", timeout_s=180)
        assert (done.returncode, "milk" in done.stdout) == (0, True), done.stdout + done.stderr
        assert len(starts.read_text().splitlines()) == 1  # for the same
