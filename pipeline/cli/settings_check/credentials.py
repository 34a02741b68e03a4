"""Check user names, passwords and addresses.

Incomplete credentials, passwords in URLs, placeholders of the examples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

from pipeline.cli.settings_check.remark import Remark
from pipeline.cli.settings_check.walk import values_within
from pipeline.settings import LoginTable, ProxyTable, Secret, Settings
from pipeline.text import shown_url

_USER_FIELDS = re.compile(r"user|e-?mail|login|account|name", re.IGNORECASE)
_MAIL_KEYS = ("mail.host", "mail.provider", "mail.command", "mail.password", "mail.token_command", "mail.oauth2")
_EXAMPLE = re.compile(r"(www\.)?example\.(com|org|net)", re.IGNORECASE)
"""Domains that nobody can use (RFC 2606, 3)."""


def check(settings: Settings) -> Iterator[Remark]:
    yield from _mail(settings)
    for name, proxy in settings.proxies.items():
        for number, one in enumerate(proxy if isinstance(proxy, tuple) else (proxy,)):
            if isinstance(one, ProxyTable) and one.user is not None and one.password is None:
                yield Remark(f"proxies.{name}[{number}]" if isinstance(proxy, tuple) else f"proxies.{name}",
                             "the proxy has `user`, but no `password`", "add password = { env = \"NAME\" }, unless the proxy needs no "
                             "password", suspicious=True)
    for name, spider in settings.spiders.items():
        if spider.login is not None:
            yield from _login(f"spiders.{name}.login", spider.login)
    for key, value in values_within(settings):
        if isinstance(value, str) and "://" in value:
            yield from _url(key.removesuffix(".url") if ".start[" in key else key, value)
    for key, address in _addresses(settings):
        if _EXAMPLE.fullmatch(address.rpartition("@")[2].strip("> ")):
            yield Remark(key, f"{address} is a placeholder, which receives no mail", "write your own address", suspicious=True)


def _mail(settings: Settings) -> Iterator[Remark]:
    mail = settings.mail
    given = [name for name in ("user", "password", "token_command", "oauth2", "port", "security") if getattr(mail, name) is not None]
    if mail.transport == "maildir" and given:
        yield Remark("mail", f"`{given[0]}` has no effect: without `host` or `provider`, mail is only written to the folder "
                     f"{settings.data_dir / mail.maildir}", "add `host` or `provider`", depends_on=_MAIL_KEYS)
    elif mail.user is not None and not any((mail.password, mail.token_command, mail.oauth2)):
        yield Remark("mail.user", "`user` has no effect without a password", "add password = { env = \"NAME\" }, or remove `user` if the server "
                     "needs no login", depends_on=_MAIL_KEYS)


def _login(key: str, login: LoginTable) -> Iterator[Remark]:
    """Yield a warning for a login that sends a user name, but no secret on any of its pages."""
    pages = (login, *login.steps)
    if any(page.totp or any(_has_secret(value) for value in page.fields.values()) for page in pages):
        return
    names = [name for page in pages for name in page.fields if _USER_FIELDS.search(name)]
    if names:
        yield Remark(f"{key}.fields", f"the login sends {names[0]}, but no password", "add the password field of the form, such as "
                     "password = { env = \"NAME\" }", suspicious=True)


def _has_secret(value: object) -> bool:
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, Secret) or any(map(_has_secret, entries))


def _url(key: str, text: str) -> Iterator[Remark]:
    try:
        parts = urlsplit(text)
        password = bool(parts.password) or any(name.lower() in ("password", "passwd", "pwd") and value
                                               for name, value in parse_qsl(parts.query))
    except ValueError:
        return
    if parts.scheme and parts.netloc and password:
        yield Remark(key, "the URL contains a password, which everybody who can read the settings file can see", _password_fix(key),
                     suspicious=True)
    if key.startswith("spiders.") and ".start[" in key and _EXAMPLE.fullmatch(parts.hostname or ""):
        yield Remark(key, f"{shown_url(text)} is a placeholder", "write the URL of a page of the site that you want to crawl", suspicious=True)


def _password_fix(key: str) -> str:
    if key.startswith("proxies."):
        return "write { url = …, user = …, password = { env = \"NAME\" } }"
    if key.endswith((".beat", ".timestamp_url")):
        return "replace the whole URL by { env = \"NAME\" }"
    if key.endswith((".unsubscribe", ".settings_url")):
        return "remove the password"
    spider = ".".join(key.split(".")[:2])
    return f"remove the password from the URL, and add auth = {{ user = …, password = {{ env = \"NAME\" }} }} to [{spider}]"


def _addresses(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield each address of a recipient, with its key."""
    tables = [(f"digests.{name}", digest) for name, digest in settings.digests.items()]
    tables += [(f"{key}.groups[{number}]", group) for key, digest in tables for number, group in enumerate(digest.groups)]  # type: ignore[misc]
    for key, table in tables:
        for kind in ("to", "cc", "bcc"):
            yield from ((f"{key}.{kind}[{number}]", address) for number, address in enumerate(getattr(table, kind)))
    yield from ((f"alerts.to[{number}]", address) for number, address in enumerate(settings.alerts.to))
