"""Applications nobody here wrote, whose logins expire in mid-run: Django's admin, and the issue tracker Roundup."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.model import Outcome
from tests.crawl.conftest import Crawls
from tests.servers import django_admin, roundup_tracker
from tests.servers.wsgi import start_wsgi


class Counted:
    """A WSGI application of which a test knows the log; after `expire_after` pages every login is forgotten, once."""

    def __init__(self, application: Callable[..., Any], forget: Callable[[], None], expire_after: int) -> None:
        self._application = application
        self._forget = forget
        self._left = expire_after
        self.posts: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] == "POST":
            self.posts.append(environ["PATH_INFO"])
        self._left -= 1
        if self._left == 0:
            self._forget()
        return self._application(environ, start_response)


def add_people() -> None:
    from django.apps import apps
    for number in range(10):
        apps.get_model("auth", "User").objects.get_or_create(username=f"person{number}")


def forget_django() -> None:
    from django.apps import apps
    apps.get_model("sessions", "Session").objects.all().delete()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning",
                            "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", ["django", "roundup"])
def test_a_login_that_expires_in_mid_run_is_made_again(crawls: Crawls, name: str, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "django":
        application = Counted(django_admin.django_admin(tmp_path), forget_django, 8)
        add_people()
        user, password = django_admin.USER, django_admin.PASSWORD
        start, login = "/admin/auth/user/?q=", "/admin/login/?next=/admin/"
        fields, check = ("username", "password"), "#logout-form"
        expired, follow, count = "", '["th.field-username a", "#nav-sidebar a"]', 12
        monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    else:
        found, forget = roundup_tracker.roundup_tracker(tmp_path)
        application = Counted(found, forget, 10)
        user, password = roundup_tracker.USER, roundup_tracker.PASSWORD
        start, login = "/user?@template=index", "/"
        fields, check = ("__login_name", "__login_password"), "//a[contains(@href, 'logout')]"
        expired, follow, count = "expired.missing = \"//a[contains(@href, 'logout')]\"", '["table.list a[href^=user]"]', roundup_tracker.PEOPLE
    monkeypatch.setenv("APP_PASSWORD", password)
    with start_wsgi(application) as url:
        crawls.write(f"""
            [spiders.s]
            start = "{url}{start}"
            follow = {follow}
            robots = false
            concurrency = 2
            [spiders.s.login]
            url = "{url}{login}"
            check = "{check}"
            fields = {{ {fields[0]} = "{user}", {fields[1]} = {{ env = "APP_PASSWORD" }} }}
            {expired}
            [spiders.s.items]
            key = ["url"]
            [spiders.s.items.fields]
            url = {{ page = "url" }}
            title = "title"
            status = {{ page = "status" }}
            """)
        run = crawls.run()
    assert (run.outcome, run.complete, run.progress.pages_failed) == (Outcome.SUCCEEDED, True, 0), run.error
    assert len(application.posts) == 2  # one login at the start, one when it was over
    assert len(crawls.items()) >= count
    assert not any("log in" in (item["title"] or "").lower() for item in crawls.items().values())
