"""Opens the session of a spider from its settings."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pipeline
from pipeline.hosts import host_of, normal_host
from pipeline.session.cookies import last_login
from pipeline.session.cookies.importers import import_cookies
from pipeline.session.cookies.jar import Jar
from pipeline.session.login.http_auth import HttpAuth
from pipeline.session.login.session_login import LoginFiles, LoginRules, login_urls
from pipeline.session.politeness.ssrf_guard import SsrfGuard
from pipeline.session.proxies.config import ENVIRONMENT, EnvironmentProxies, proxy_urls
from pipeline.session.proxies.selection import ProxySelection
from pipeline.session.request_rules import RequestRules
from pipeline.session.requests import reveal, with_params
from pipeline.session.session import Session
from pipeline.session.transport.tls import TlsContexts
from pipeline.session.trusted_origins import TrustedOrigins
from pipeline.session.web_storage import WebStorage
from pipeline.settings import Settings, SpiderTable
from pipeline.store.from_settings import is_shared
from pipeline.store.session_files import (
    IMPORTED,
    JAR,
    PROXIES,
    WEB_STORAGE,
    LocalSessionFiles,
    SessionFile,
    SessionFiles,
)

if TYPE_CHECKING:
    from pipeline.session.browser.sync_browser import SyncBrowser


def open_session(name: str, spider: SpiderTable, settings: Settings, stored: SessionFiles | None = None) -> Session:
    """Return the session of the spider `name`, without fetching anything.

    Cookies in the settings are imported if they have changed since the last import. stored: the cookie jar and the other private
    files of the spider; None means those in data_dir/jars, which is wrong if several services share the database. Raises
    CookieError, SessionError, StoreError, or UsageError if a secret or a proxy is not available.
    """
    if stored is None:
        assert not is_shared(settings), "the session files of this spider are in the database"
        stored = LocalSessionFiles(settings.data_dir / "jars", name)
    files = LoginFiles(stored, settings.data_dir / "pages" / f"login-{name}.html")
    last = last_login.last(files.last_login)
    jar = Jar.open(stored.file(JAR), protected=last.cookies if last is not None else ())
    for secret in last_login.secrets_of(cookie for cookie in jar if last is not None and cookie.key in last.cookies):
        stored.mask.add(secret)
    if spider.cookies is not None:
        default = spider.start[0].url if spider.start else (spider.login and spider.login.url) or ""
        import_cookies(jar, spider.cookies, folder=settings.folder, default_url=default, mark=stored.file(IMPORTED),
                       last_login=files.last_login, now_s=time.time())
    needs_browser = spider.render is not None or any(start.render for start in spider.start) or (spider.login is not None and spider.login.browser)
    ca_file = settings.folder / Path(spider.ca_file).expanduser() if spider.ca_file else None
    return Session(
        jar, files, requests=_request_rules(name, spider, settings),
        login=LoginRules(spider.login, _first_get(spider), spider.login_cookies),
        proxies=_proxies(spider, settings, stored.file(PROXIES)), tls=TlsContexts(ca_file, _insecure_hosts(spider)), ssrf_guard=_ssrf_guard(spider),
        storage=WebStorage.open(stored.file(WEB_STORAGE)) if spider.login is not None and needs_browser else None,
        open_browser=partial(_open_browser, spider, settings) if spider.login is not None and needs_browser else None)


def _open_browser(spider: SpiderTable, settings: Settings, session: Session) -> SyncBrowser:
    """Return a browser for the login of a spider."""
    from pipeline.session.browser import browser, render_rules, sync_browser  # noqa: PLC0415  loads Playwright, which few spiders need
    from pipeline.session.browser.process import program  # noqa: PLC0415  as above

    def open_session_browser() -> browser.SessionBrowser:
        return browser.SessionBrowser(session, program.BrowserProgram.of(settings.browser, settings.data_dir), max_pages=1)

    return sync_browser.SyncBrowser(open_session_browser, render_rules.RenderRules.of(spider), session.storage or WebStorage(), session.trusted,
                                    max_bytes=spider.max_page_size)


def _request_rules(name: str, spider: SpiderTable, settings: Settings) -> RequestRules:
    contact = settings.pipeline.contact.strip()
    auth = None if spider.auth is None else HttpAuth(
        spider.auth, TrustedOrigins([start.url for start in spider.start], "auth"), f"spiders.{name}.auth")
    trusted = _trusted_origins(spider)
    return RequestRules(
        user_agent=spider.user_agent or f"crawl-to-inbox/{pipeline.__version__}" + (f" (+{contact})" if contact else ""),
        headers={key: reveal(value) for key, value in spider.headers.items()}, trusted=trusted, body_origins=trusted,
        auth=auth, banned=spider.banned, hosts=_named_hosts(spider), encoding=spider.encoding, timeout_s=spider.timeout,
        max_page_bytes=spider.max_page_size)


def _proxies(spider: SpiderTable, settings: Settings, health: SessionFile) -> ProxySelection:
    if spider.proxy == ENVIRONMENT:
        return ProxySelection((), health, EnvironmentProxies.read())
    return ProxySelection(proxy_urls(spider.proxy, settings) if spider.proxy is not None else (), health)


def _first_get(spider: SpiderTable) -> str:
    """Return the first start URL that is requested with GET; "" if there is no such URL."""
    for start in spider.start:
        if (start.method or "GET").upper() == "GET" and start.form is start.json_ is start.body is None:
            return with_params(start.url, start.params, start.encoding or "utf-8")
    return ""


def _ssrf_guard(spider: SpiderTable) -> SsrfGuard:
    """Return the SSRF guard of a spider, which allows the private addresses named in the settings."""
    places = [*spider.hosts, *(start.url for start in spider.start)]
    if spider.login is not None:
        places += filter(None, (spider.login.url, spider.login.check_url))
    return SsrfGuard(places, public_only=spider.public_only)


def _trusted_origins(spider: SpiderTable) -> TrustedOrigins:
    """Return the origins that receive the spider's request headers and the bodies of its requests."""
    urls = [*(start.url for start in spider.start), *spider.headers_for]
    if spider.login is not None:
        urls += [*login_urls(spider.login), *([spider.login.check_url] if spider.login.check_url else [])]
    return TrustedOrigins(urls, "headers_for")


def _insecure_hosts(spider: SpiderTable) -> frozenset[str]:
    if isinstance(spider.insecure_tls, bool):
        return _named_hosts(spider) if spider.insecure_tls else frozenset()
    return frozenset(normal_host(host) for host in spider.insecure_tls)


def _named_hosts(spider: SpiderTable) -> frozenset[str]:
    """Return the hosts that the settings of a spider name: the hosts of its start URLs and of its login."""
    urls = [start.url for start in spider.start]
    if spider.login is not None:
        urls += filter(None, (spider.login.url, spider.login.check_url))
    return frozenset(host for url in urls if (host := host_of(url)))
