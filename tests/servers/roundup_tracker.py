"""Roundup, an issue tracker whose login form is on every page, with status 200."""

from __future__ import annotations

import contextlib
import io
import re
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

USER = "admin"
PASSWORD = "Tr4cker & <pass> é"
PEOPLE = 12


def roundup_tracker(folder: Path, issues: Iterable[str] = ()) -> tuple[Callable[..., Any], Callable[[], None]]:
    """The WSGI application of a tracker in `folder`, and a function that makes it forget every login. issues: titles."""
    from roundup import instance, password
    from roundup.admin import AdminTool
    from roundup.cgi.wsgi_handler import RequestDispatcher

    home = folder / "tracker"
    tool = AdminTool()
    tool.tracker_home = str(home)
    with contextlib.redirect_stdout(io.StringIO()):
        tool.do_install(str(home), ["install", "classic", "anydbm"])
    config = home / "config.ini"
    text = re.sub(r"(?m)^#?web = .*$", "web = http://127.0.0.1/", config.read_text())
    text = re.sub(r"(?m)^#?domain = .*$", "domain = site.example", text)
    config.write_text(re.sub(r"(?m)^#?host = NO DEFAULT$", "host = localhost", text))
    tracker = instance.open(str(home))
    tracker.init(password.Password(PASSWORD, config=tracker.config))
    database = tracker.open("admin")
    for number in range(PEOPLE):
        database.user.create(username=f"person{number}", roles="User", address=f"person{number}@site.example")
    for title in issues:
        database.issue.create(title=title)
    database.commit()
    database.close()

    def forget() -> None:
        opened = tracker.open("admin")
        opened.getSessionManager().clear()
        opened.commit()
        opened.close()

    dispatchers: list[Callable[..., Any]] = []
    lock = threading.Lock()

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        with lock:
            if not dispatchers:  # its forms name its full address, which is known only now
                config.write_text(re.sub(r"(?m)^web = .*$", f"web = http://{environ['HTTP_HOST']}/", config.read_text()))
                dispatchers.append(RequestDispatcher(str(home)))
            return dispatchers[0](environ, start_response)

    return application, forget
