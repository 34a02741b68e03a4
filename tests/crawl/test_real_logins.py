"""Real applications whose logins expire during a run.

Django's admin, the issue tracker Roundup, and copyparty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from pipeline.model import Outcome
from tests.crawl.conftest import Crawls
from tests.servers import copyparty, django_admin, roundup_tracker
from tests.servers.wsgi import start_wsgi


class Counted:
    """A WSGI application with a log for the test. After `expire_after` pages it forgets every login, once."""

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


@dataclass(frozen=True)
class Known:
    """The settings for an application. count: pages behind its login; wall: a text of its pages for anonymous visitors."""

    application: Counted
    password: str
    rules: str
    count: int
    wall: str


@contextmanager
def django(folder: Path) -> Iterator[Known]:
    """A form with a CSRF token; anonymous visitors are redirected to it."""
    application = Counted(django_admin.django_admin(folder), forget_django, 8)
    add_people()
    yield Known(application, django_admin.PASSWORD, f"""
        [spiders.s]
        start = "URL/admin/auth/user/?q="
        follow = ["th.field-username a", "#nav-sidebar a"]
        [spiders.s.login]
        url = "URL/admin/login/?next=/admin/"
        check = "#logout-form"
        fields = {{ username = "{django_admin.USER}", password = {{ env = "APP_PASSWORD" }} }}
        """, 12, "log in | django site admin")


@contextmanager
def roundup(folder: Path) -> Iterator[Known]:
    """A form on every page; anonymous visitors get pages with status 200."""
    found, forget = roundup_tracker.roundup_tracker(folder)
    yield Known(Counted(found, forget, 10), roundup_tracker.PASSWORD, f"""
        [spiders.s]
        start = "URL/user?@template=index"
        follow = ["table.list a[href^=user]"]
        [spiders.s.login]
        url = "URL/"
        check = "//a[contains(@href, 'logout')]"
        fields = {{ __login_name = "{roundup_tracker.USER}", __login_password = {{ env = "APP_PASSWORD" }} }}
        expired.missing = "//a[contains(@href, 'logout')]"
        """, roundup_tracker.PEOPLE, "please login with your username")


@contextmanager
def party(folder: Path) -> Iterator[Known]:
    """Only a password, sent as multipart and answered without a redirect; anonymous visitors get 401."""
    with copyparty.start_copyparty(folder) as (found, forget):
        yield Known(Counted(found, forget, 10), copyparty.PASSWORD, """
            [spiders.s]
            start = "URL/"
            follow = ["#files a[href^='folder']:not([href*='zip'])"]
            [spiders.s.login]
            url = "URL/?h"
            check_url = "URL/?h"
            check = "a.logout"
            fields = { cppwd = { env = "APP_PASSWORD" } }
            expired.status = [401]
            expired.present = "input[name=cppwd]"
            """, copyparty.FOLDERS + 1, "howdy stranger")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning",
                            "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("known", [django, roundup, party], ids=lambda known: known.__name__)
def test_a_crawl_logs_in_again_when_the_login_expires(crawls: Crawls, known: Callable[[Path], AbstractContextManager[Known]],
                                                       tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    with known(tmp_path) as app, start_wsgi(app.application) as url:
        monkeypatch.setenv("APP_PASSWORD", app.password)
        rules = app.rules.replace("URL", url).replace("follow =", "robots = false\nconcurrency = 2\nfollow =")
        crawls.write(dedent(rules) + dedent("""
            [spiders.s.items]
            key = ["url"]
            [spiders.s.items.fields]
            url = { page = "url" }
            text = "html"
            """))
        run = crawls.run()
    assert (run.outcome, run.complete, run.progress.pages_failed) == (Outcome.SUCCEEDED, True, 0), run.error
    assert len(app.application.posts) == 2  # one login at the start, one after it expired
    assert len(crawls.items()) >= app.count
    assert not any(app.wall in item["text"].lower() for item in crawls.items().values())
