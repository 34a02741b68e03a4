"""The session of one spider: its jar, its proxy and whether it is logged in."""

from __future__ import annotations

import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import certifi

import pipeline
from pipeline.errors import CookieError, FetchError, LoginError, ProxyError, SessionError, UsageError
from pipeline.hosts import host_of, normal_host
from pipeline.model import LoginCookie
from pipeline.session.answer import Answer
from pipeline.session.client import Client, fetch
from pipeline.session.cookies import last_login
from pipeline.session.cookies.importers import bring_in, import_cookies, read_import
from pipeline.session.cookies.jar import Jar
from pipeline.session.login.expiry import Expiry, LoginState
from pipeline.session.login.http_auth import HttpAuth
from pipeline.session.login.login import Login
from pipeline.session.politeness.robots import PARSED_BYTES
from pipeline.session.politeness.ssrf_guard import SsrfGuard
from pipeline.session.private_file import write_private
from pipeline.session.proxies.config import ENVIRONMENT, EnvironmentProxies, proxy_urls, shown_proxy
from pipeline.session.proxies.pool import ProxyPool
from pipeline.session.requests import reveal, with_params
from pipeline.session.trusted_origins import TrustedOrigins
from pipeline.settings import BannedTable, LoginTable, Settings, SpiderTable
from pipeline.store.health.proxy_health import pool_file

UNCHECKABLE = ("nothing is called gone: login.check matches on no page after the login but the answer to it, so that nobody can "
               "tell when the session is over; name a page in login.check_url")
"""What is said of a session that is not `checkable`."""
_CHECK_AGAIN_S = (1.0, 4.0)
"""The waits between attempts to look at `check`, where a site has trouble of its own."""
_BY_ACCESS = "access"
"""Beside a URL in the landing file: strangers are kept out there."""


class Session:
    """What a spider and its downloads share. Threads may use it at once, each with a client of its own.

    proxy: the URL in use, credentials percent-encoded, None for none; of several `proxies` the one it stays with until
    `change_proxy`. verify: False when TLS is not verified for
    `insecure_hosts`, else a file of authorities to trust beside the system's, or True. timeout_s: of one request.
    auth: HTTP authentication, None for none. trusted: the origins that get the spider's own headers and bodies.
    reach: what may be connected to; the handler of a crawl asks it, too. login_state: the login's, None without one.
    jars, pages: the folders (0700) of login state and of pages kept for a look. start: a page that is fetched by GET, "" for none.
    """

    def __init__(self, name: str, jar: Jar, *, jars: Path, pages: Path, login: LoginTable | None = None,
                 proxies: tuple[str, ...] = (), user_agent: str = "", headers: Mapping[str, str] | None = None,
                 ca_file: Path | None = None, own_hosts: frozenset[str] = frozenset(),
                 insecure_hosts: frozenset[str] = frozenset(), timeout_s: float = 60.0,
                 max_page_bytes: int = 32 * 10**6, encoding: str | None = None, ssrf_guard: SsrfGuard | None = None,
                 environment: EnvironmentProxies | None = None, login_cookie_names: tuple[str, ...] = (),
                 banned: BannedTable | None = None, auth: HttpAuth | None = None, start: str = "",
                 trusted: TrustedOrigins | None = None,
                 clock: Callable[[], float] = time.time) -> None:
        self.name = name
        self.auth = auth
        self.jar = jar
        self._clock = clock
        self._pool = ProxyPool(proxies, pool_file(jars.parent, name)) if len(proxies) > 1 else None
        self.proxy = self._pool.choose(clock()) if self._pool else next(iter(proxies), None)
        self.user_agent = user_agent or f"crawl-to-inbox/{pipeline.__version__}"
        self.headers = dict(headers or {})
        self.own_hosts = own_hosts
        self.trusted = trusted or TrustedOrigins([], "headers_for")
        self._login_origins = TrustedOrigins(_login_urls(login), "login.origins")
        self.verify: bool | str = False if insecure_hosts else str(ca_file) if ca_file else True
        self.timeout_s = timeout_s
        self._login = login
        self._ca_file = ca_file
        self._insecure_hosts = insecure_hosts
        self._max_page_bytes = max_page_bytes
        self._encoding = encoding
        self._landing_file = jars / f"{name}.landing"
        self._token_file = jars / f"{name}.token"
        self._token = _read_line(self._token_file) if login is not None and login.token is not None else ""
        self._last_login_file = _last_login_file(jars, name)
        self._banned = banned
        self._start = start
        self.checkable = True
        """Whether `check` can be looked at again after a login. False: nobody can tell when that is over."""
        self._login_cookie_names = login_cookie_names
        self._page_file = pages / f"login-{name}.html"
        self.ssrf_guard = ssrf_guard or SsrfGuard()
        self._environment = environment
        self.login_state = None if login is None else LoginState(
            Expiry(login, own_hosts | ({host_of(login.url)} if login.url else set())), self._log_in_anew, self._still_holds,
            where=f"spiders.{name}.login")
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._contexts_lock = threading.Lock()
        self._login_lock = threading.Lock()
        self._proxy_lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Session {self.name}: {self.jar!r}, proxy {shown_proxy(self.proxy) if self.proxy else 'none'}>"

    def proxy_for(self, url: str) -> str | None:
        """The proxy for a URL, None for none."""
        return self._environment.url_for(url) if self._environment is not None else self.proxy

    def client(self, before: Callable[[str], None] = lambda url: None) -> Client:
        """A new requests.Session for one thread, on the shared jar. Close it when done.

        It stays logged in, and goes on with the pool's next proxy when one fails. before: called ahead of each request.
        """
        return self._client(self.proxy_for, change_proxy=self.change_proxy, login_state=self.login_state, before=before)

    def _login_client(self) -> Client:
        """One that stays with its proxy: a login begun at one address and ended at another looks like theft."""
        chosen = self.proxy
        return self._client(self.proxy_for if self._environment is not None else lambda url: chosen,
                            bodies=self._login_origins)

    def _client(self, route: Callable[[str], str | None], bodies: TrustedOrigins | None = None, **more: Any) -> Client:
        ours: dict[str, Any] = {"jar": self.jar, "login_headers": self.login_headers, "auth": self.auth}
        return Client(route=route, headers={"User-Agent": self.user_agent}, timeout_s=self.timeout_s,
                      context_for=self.ssl_context, ssrf_guard=self.ssrf_guard, own_headers=self.headers,
                      trusted=self.trusted, bodies=bodies or self.trusted, insecure_hosts=self._insecure_hosts,
                      banned=self._banned, **{**ours, **more})

    def login_headers(self, url: str) -> dict[str, str]:
        """The header an API's login asks for, for URLs of its own site; {} for all others."""
        if not self._token or self._login is None or not self._login_origins.trust(url):
            return {}
        name, _, value = self._login.token_header.partition(": ")
        return {name: value.replace("{token}", self._token)}

    def ssl_context(self, host: str | None = None) -> ssl.SSLContext:
        """The TLS context for a host: the system's authorities and ca_file; unverified for the insecure hosts.

        Without a host: unverified when there are any. Raises UsageError for a ca_file that cannot be read.
        """
        insecure = bool(self._insecure_hosts) if host is None else normal_host(host) in self._insecure_hosts
        with self._contexts_lock:
            if insecure not in self._contexts:
                self._contexts[insecure] = _unverified_context() if insecure else verified_context(self._ca_file)
            return self._contexts[insecure]

    def logged_in(self) -> bool:
        """Whether the login of an earlier run still holds, asked of the site. True without a login."""
        if self._login is None:
            return True
        with self._login_client() as client:
            return self._holds(self._login_through(self._login, client), self._login)

    def ensure_login(self, *, fresh: bool = False) -> bool:
        """Log in unless that still holds; one thread at a time. Whether a login was made; False without one.

        fresh: log in as a stranger, whatever holds. Raises LoginError when it is not proved, ProxyError, TlsError or
        FetchError when the site is not reached; the jar is then as it was.
        """
        if self._login is None:
            return False
        with self._login_lock:
            if not (fresh and self._login.sends):
                return self._log_in(self._login, unless_it_holds=True)
            before = list(self.jar)
            self.jar.clear()
            try:
                return self._log_in(self._login, unless_it_holds=False)
            except BaseException:
                self.jar.clear()
                for cookie in before:
                    self.jar.set_cookie(cookie)
                self.jar.save()
                raise

    def _log_in_anew(self) -> None:
        """As ensure_login, for a login that a request has just shown to be over."""
        assert self._login is not None
        with self._login_lock:
            self._log_in(self._login, unless_it_holds=False)

    def _log_in(self, table: LoginTable, *, unless_it_holds: bool) -> bool:
        while True:
            proxy = self.proxy
            try:
                made = self._log_in_once(table, unless_it_holds=unless_it_holds)
            except ProxyError:
                if not self.change_proxy(proxy):
                    raise
            else:
                return made

    def bring_in(self, file: Path, url: str) -> int:
        """Put the cookies of a file into the jar; how many. url: the site of those that do not say theirs.

        Raises CookieError, also when there is no such file.
        """
        try:
            text = read_import(file)
        except FileNotFoundError as error:
            raise CookieError("no such file", where=str(file), fix="name the file you exported") from error
        return bring_in(self.jar, text, str(file), url=url, last_login=self._last_login_file, now_s=self._clock())

    def login_cookies(self) -> tuple[datetime, list[LoginCookie]] | None:
        """When the session got in last, and the cookies of it that end some day; None when it never did."""
        last = last_login.last(self._last_login_file)
        if last is None:
            return None
        hosts = self.own_hosts | ({host_of(self._login.url)} if self._login is not None and self._login.url else set())
        return (datetime.fromtimestamp(last.at_s, UTC),
                last_login.ending(self.jar, last, hosts=hosts, names=self._login_cookie_names))

    def change_proxy(self, failed: str | None) -> bool:
        """The proxy `failed` is down or banned: it rests, and clients made from now on use another.

        failed: the `proxy` that met it, shown or whole; many may meet it at once. False when there is no other.
        """
        with self._proxy_lock:
            if failed is None or self.proxy is None or self._pool is None:
                return False
            if shown_proxy(failed) != shown_proxy(self.proxy):
                return True
            if not self._pool.failed(self._clock()):
                return False
            self.proxy = self._pool.choose(self._clock())
            return True

    def try_proxy(self, proxy: str, url: str) -> int:
        """The status of a page asked for through one proxy. Raises ProxyError when that fails, else FetchError."""
        with self._client(lambda _: proxy) as client:
            return fetch(client, "GET", url, max_bytes=self._max_page_bytes, timeout_s=self.timeout_s).status

    def look(self, url: str) -> Answer:
        """A robots.txt. Raises ProxyError, TlsError or FetchError."""
        with self._client(self.proxy_for, change_proxy=self.change_proxy) as client:
            return fetch(client, "GET", url, max_bytes=max(PARSED_BYTES, self._max_page_bytes), timeout_s=self.timeout_s)

    def proxy_worked(self) -> None:
        """An answer came through the proxy in use: what it did before is forgotten."""
        if self._pool is not None:
            with self._proxy_lock:
                self._pool.worked()

    def _log_in_once(self, table: LoginTable, *, unless_it_holds: bool) -> bool:
        with self._login_client() as client:
            login = self._login_through(table, client)
            try:
                if not (unless_it_holds and self._holds(login, table)):
                    if not table.sends:
                        raise self._cookies_are_over()
                    before = list(self.jar)
                    self._remember_landing(self._find_check_page(table, login, login.log_in()))
                    brought = last_login.fresh(before, self.jar)
                    self.jar.protect(cookie.place for cookie in brought)
                    last_login.remember(self._last_login_file, brought, brought_in=False, now_s=self._clock())
                    made = True
                else:
                    made = False
            finally:
                self.jar.save()
        self.proxy_worked()
        return made

    def _login_through(self, table: LoginTable, client: Client) -> Login:
        return Login(table, client, where=f"spiders.{self.name}.login", encoding=self._encoding, origins=self._login_origins,
                     max_bytes=self._max_page_bytes, timeout_s=self.timeout_s, keep_page=self._keep_page,
                     take_token=self._take_token)

    def _holds(self, login: Login, table: LoginTable) -> bool:
        """Asks check_url, or the page where a login was seen last. A jar without cookies needs no asking."""
        url, by_access = self._check_page(table)
        return bool(url) and (bool(self.jar.alive()) or bool(self._token)) and login.holds_at(url, by_access=by_access)

    def _still_holds(self) -> bool:
        """Whether the session passes its check now. Raises what kept the check from being looked at, after some attempts."""
        table = self._login
        assert table is not None
        url, by_access = self._check_page(table)
        for wait_s in (*_CHECK_AGAIN_S, None):
            try:
                with self._login_client() as client:
                    return self._login_through(table, client).holds_at(url, by_access=by_access, surely=True)
            except (FetchError, ProxyError) as error:
                if wait_s is None or not error.retry:
                    raise
                time.sleep(wait_s)
        raise AssertionError("unreachable")

    def _check_page(self, table: LoginTable) -> tuple[str, bool]:
        """Where to look whether the session holds, "" for nowhere; and whether it is enough to be let in there."""
        if table.check_url is not None:
            return table.check_url, False
        if not table.sends:
            return self._start, False
        url, _, how = _read_line(self._landing_file).partition(" ")
        return (url if urlsplit(url).scheme in ("http", "https") else ""), how == _BY_ACCESS

    def _find_check_page(self, table: LoginTable, login: Login, landing: str) -> str:
        """Where a login just made is seen once more, as the landing file has it; "" for nowhere.

        The page it led to, where `check` matches on a GET of it (the check of an API is for its answer alone); else the
        start, where strangers do not see the same: `check` matches there, or they are kept out.
        """
        self.checkable = True
        if table.check_url is not None or (landing and not table.json_ and login.holds_at(landing)):
            return landing
        chosen = self.proxy
        with self._client(self.proxy_for if self._environment is not None else lambda url: chosen, jar=Jar(),
                          login_headers=lambda url: {}, auth=None) as client:
            stranger = self._login_through(table, client)
            for by_access in (False, True) if self._start else ():
                if login.holds_at(self._start, by_access=by_access) and \
                        not stranger.holds_at(self._start, by_access=by_access):
                    return f"{self._start} {_BY_ACCESS}" if by_access else self._start
        self.checkable = False
        return ""

    def _cookies_are_over(self) -> LoginError:
        return LoginError("the imported cookies no longer pass login.check", where=f"spiders.{self.name}.login",
                          fix="log in with a browser and bring its cookies in: `pipeline cookies import`")

    def _remember_landing(self, url: str) -> None:
        write_private(self._landing_file, f"{url}\n".encode())

    @property
    def token(self) -> str:
        """What an API's login gave, "" for nothing."""
        return self._token

    def adopt(self, token: str, epoch: int) -> None:
        """Go on with a login that another process of the same run made; its cookies come apart."""
        self._token = token
        if self.login_state is not None:
            self.login_state.adopt(epoch)

    def _take_token(self, token: str) -> None:
        self._token = token
        write_private(self._token_file, f"{token}\n".encode())

    def _keep_page(self, body: bytes) -> Path:
        write_private(self._page_file, body)
        return self._page_file


def open_session(name: str, spider: SpiderTable, settings: Settings) -> Session:
    """The session of the spider `name`: its jar in data_dir/jars, with the settings' cookies brought in when changed.

    Raises CookieError, UsageError (a secret or a proxy that cannot be had) or SessionError. Nothing is fetched.
    """
    jars = settings.data_dir / "jars"
    last = last_login.last(_last_login_file(jars, name))
    jar = Jar.open(jars / f"{name}.txt", protected=last.cookies if last is not None else ())
    if spider.cookies is not None:
        default = spider.start[0].url if spider.start else (spider.login and spider.login.url) or ""
        import_cookies(jar, spider.cookies, folder=settings.folder, default_url=default, mark=jars / f"{name}.imported",
                       last_login=_last_login_file(jars, name), now_s=time.time())
    contact = settings.pipeline.contact.strip()
    user_agent = f"crawl-to-inbox/{pipeline.__version__}" + (f" (+{contact})" if contact else "")
    return Session(
        name, jar, jars=jars, pages=settings.data_dir / "pages", login=spider.login,
        proxies=proxy_urls(spider.proxy, settings) if spider.proxy not in (None, ENVIRONMENT) else (),
        environment=EnvironmentProxies.read() if spider.proxy == ENVIRONMENT else None, ssrf_guard=_ssrf_guard(spider),
        user_agent=spider.user_agent or user_agent,
        headers={key: reveal(value) for key, value in spider.headers.items()},
        ca_file=settings.folder / Path(spider.ca_file).expanduser() if spider.ca_file else None,
        own_hosts=_named_hosts(spider), insecure_hosts=_insecure_hosts(spider),
        timeout_s=spider.timeout, max_page_bytes=spider.max_page_size, encoding=spider.encoding,
        login_cookie_names=spider.login_cookies, banned=spider.banned, start=_first_get(spider),
        auth=HttpAuth(spider.auth, TrustedOrigins([start.url for start in spider.start], "auth"), f"spiders.{name}.auth")
        if spider.auth is not None else None, trusted=_trusted_origins(spider))


def verified_context(ca_file: Path | None) -> ssl.SSLContext:
    """A client's context that trusts the system's authorities (requests' bundle where there are none) and ca_file's."""
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)  # which verifies certificates and names
    if sys.version_info >= (3, 13):  # as ssl.create_default_context() does
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    context.load_default_certs()
    paths = ssl.get_default_verify_paths()
    if paths.cafile is None and paths.capath is None:
        context.load_verify_locations(certifi.where())
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            reason = "no PEM certificates in it" if isinstance(error, ssl.SSLError) else error.strerror
            raise UsageError(f"cannot be used as ca_file: {reason}", where=str(ca_file),
                             fix="name a PEM file of certificates") from error
    return context


def _last_login_file(jars: Path, name: str) -> Path:
    return jars / f"{name}.way"


def _read_line(path: Path) -> str:
    """What an earlier run left in `path`, "" for nothing. Raises SessionError."""
    try:
        return path.read_text("utf-8").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return ""
    except OSError as error:
        raise SessionError(f"cannot be read: {error.strerror}", where=str(path), fix="check its owner and mode") from error


class _Context(ssl.SSLContext):
    """Says of a connection that ends without close_notify that it was cut, where Python by default calls it an end."""

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        return super().wrap_socket(*arguments, **{**options, "suppress_ragged_eofs": False})


def _unverified_context() -> ssl.SSLContext:
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _first_get(spider: SpiderTable) -> str:
    """The first start that is a plain page, "" for none."""
    for start in spider.start:
        if (start.method or "GET").upper() == "GET" and start.form is start.json_ is start.body is None:
            return with_params(start.url, start.params, start.encoding or "utf-8")
    return ""


def _ssrf_guard(spider: SpiderTable) -> SsrfGuard:
    """Where the settings send the spider, though it be private."""
    places = [*spider.hosts, *(start.url for start in spider.start)]
    if spider.login is not None:
        places += filter(None, (spider.login.url, spider.login.check_url))
    return SsrfGuard(places)


def _login_urls(login: LoginTable | None) -> list[str]:
    """What names the origins that passwords and tokens may go to."""
    return [] if login is None else [*([login.url] if login.url else []), *login.origins]


def _trusted_origins(spider: SpiderTable) -> TrustedOrigins:
    """Those that get the spider's own headers and the bodies of its requests."""
    urls = [*(start.url for start in spider.start), *spider.headers_for]
    if spider.login is not None:
        urls += [*_login_urls(spider.login), *([spider.login.check_url] if spider.login.check_url else [])]
    return TrustedOrigins(urls, "headers_for")


def _insecure_hosts(spider: SpiderTable) -> frozenset[str]:
    if isinstance(spider.insecure_tls, bool):
        return _named_hosts(spider) if spider.insecure_tls else frozenset()
    return frozenset(normal_host(host) for host in spider.insecure_tls)


def _named_hosts(spider: SpiderTable) -> frozenset[str]:
    """The hosts the settings of a spider name: those of its starts and its login."""
    urls = [start.url for start in spider.start]
    if spider.login is not None:
        urls += filter(None, (spider.login.url, spider.login.check_url))
    return frozenset(host for url in urls if (host := host_of(url)))
