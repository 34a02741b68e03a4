"""Django's admin as a site with a real login form.

Its settings are per process: the last site has the database.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

USER = "crawler"
PASSWORD = "Cr4wl-Passw0rd! é"


def django_admin(folder: Path) -> Callable[..., Any]:
    """The WSGI application, with an SQLite database in `folder` and USER with PASSWORD in it."""
    import django
    from django.apps import apps
    from django.conf import settings
    from django.core.management import call_command
    from django.core.wsgi import get_wsgi_application
    from django.db import connections

    if not settings.configured:
        settings.configure(
            SECRET_KEY="only for tests", ALLOWED_HOSTS=["127.0.0.1", "localhost"], ROOT_URLCONF=_urls(), USE_TZ=True,
            INSTALLED_APPS=["django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
                            "django.contrib.sessions", "django.contrib.messages"],
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "admin.sqlite3"),
                                   "OPTIONS": {"timeout": 20}}},
            MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware",
                        "django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware",
                        "django.contrib.auth.middleware.AuthenticationMiddleware",
                        "django.contrib.messages.middleware.MessageMiddleware"],
            TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
                        "OPTIONS": {"context_processors": ["django.template.context_processors.request",
                                                           "django.contrib.auth.context_processors.auth",
                                                           "django.contrib.messages.context_processors.messages"]}}],
            LOGGING_CONFIG=None, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
            PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"])
        django.setup()
    # A test that used Django in this process before had its database in a folder that may be deleted.
    connections.close_all()
    connections.settings["default"]["NAME"] = str(folder / "admin.sqlite3")
    _add_admin()
    call_command("migrate", verbosity=0)
    users = apps.get_model("auth", "User").objects
    if not users.filter(username=USER).exists():
        users.create_superuser(USER, "crawler@site.example", PASSWORD)
    return get_wsgi_application()


def _urls() -> str:
    """A URL configuration needs a module; this one is made on the spot."""
    import sys

    name = "tests_django_admin_urls"
    module = sys.modules.setdefault(name, ModuleType(name))
    module.__dict__.setdefault("urlpatterns", [])
    return name


def _add_admin() -> None:
    import sys

    from django.contrib import admin
    from django.urls import path

    patterns = sys.modules[_urls()].urlpatterns
    if not patterns:
        patterns.append(path("admin/", admin.site.urls))
