"""The demo site: a login with a CSRF token, a catalogue that changes between runs, large files.

The site runs in the event loop of the service. To avoid blocking the event loop, response bodies are generated and sent
in small pieces.
"""

from __future__ import annotations

import asyncio
import errno
import gzip
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.atomic_write import replace_file
from pipeline.demo import catalogue
from pipeline.demo.file_responses import file_response
from pipeline.demo.files import files
from pipeline.demo.sessions import DemoSession, SessionStore
from pipeline.errors import UsageError

USER = "demo"
_COOKIE = "demo_session"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
                               "frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "same-origin",
    "Server": "demo",
    "X-Content-Type-Options": "nosniff",
}
Handler = Callable[[web.Request, DemoSession], Awaitable[web.StreamResponse]]


class DemoSite:
    """A web site on this machine, to which the user "demo" can log in.

    port: the port to listen on; 0 means any free port. password_file: the file with the password; if the file is missing,
    it is created with a random password and mode 0600. idle_s: seconds without a request after which a visitor must log
    in again.

    Every login increases the revision number of the catalogue. The number is stored in a file beside the password file.
    """

    def __init__(self, *, host: str, port: int, password_file: Path, idle_s: float = 60.0) -> None:
        self._host = host
        self._port = port
        self._password_file = password_file
        self._revision_file = password_file.with_name(f"{password_file.name}.revision")
        self._password = ""
        self._revision = 0
        self._sessions = SessionStore(idle_s=idle_s, clock=time.monotonic)
        self._templates = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True,
                                      undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The URL of the site without a trailing slash. After start(), the URL contains the actual port."""
        return f"http://{self._host}:{self._port}"

    async def start(self) -> None:
        """Start the site and return when clients can connect.

        Raises UsageError if the port or the password file cannot be used.
        """
        try:
            await asyncio.to_thread(self._read_files)
        except (OSError, ValueError) as error:
            raise UsageError(f"the password file cannot be used: {error}", where="demo",
                             fix=f"remove the file {self._password_file}, and check that its folder is writable") from error
        self._runner = web.AppRunner(self._app(), access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except OSError as error:
            await self.stop()
            what = f"port {self._port} on {self._host} is in use" if error.errno == errno.EADDRINUSE \
                else f"the demo site cannot listen on {self._host}, port {self._port}: {error.strerror}"
            raise UsageError(what, where="demo", fix="stop the other program, or set another [demo] port in settings.toml") from error
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024, middlewares=[_plain_errors])
        app.on_response_prepare.append(_add_headers)
        app.add_routes([
            web.get("/", _home),
            web.get("/robots.txt", _robots),
            web.get("/login", self._login_form),
            web.post("/login", self._login),
            web.get("/logout", self._logout),
            web.get("/catalogue", self._behind_login(self._catalogue)),
            web.get(r"/product/{number:\d{1,9}}", self._behind_login(self._product)),
            web.get("/search", self._behind_login(self._search)),
            web.get("/offers", self._behind_login(self._offers)),
            web.get("/zh", self._behind_login(self._chinese)),
            web.get("/documents", self._behind_login(self._documents)),
            web.get("/files/{name}", self._behind_login(self._file)),
        ])
        return app

    def _behind_login(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def checked(request: web.Request) -> web.StreamResponse:
            session = self._session(request)
            if session is None or not session.logged_in:
                raise web.HTTPSeeOther("/login")
            return await handler(request, session)

        return checked

    def _session(self, request: web.Request) -> DemoSession | None:
        return self._sessions.find(request.cookies.get(_COOKIE, ""))

    async def _login_form(self, request: web.Request) -> web.Response:
        session = self._session(request) or self._sessions.create()
        return self._login_page(session, problem="", status=200)

    async def _login(self, request: web.Request) -> web.Response:
        session = self._session(request)
        form = await request.post()
        if session is None or not _same(form.get("csrf_token"), session.csrf_token):
            return self._login_page(session or self._sessions.create(), status=403,
                                    problem="This form is out of date; please try again.")
        right_user = _same(form.get("username"), USER)
        if not (_same(form.get("password"), self._password) and right_user):
            return self._login_page(session, status=403, problem="Wrong user name or password.")
        self._sessions.remove(session)
        self._revision += 1
        await asyncio.to_thread(replace_file, self._revision_file, f"{self._revision}\n".encode())
        session = self._sessions.create(self._revision)
        response = web.Response(status=303, headers={"Location": "/catalogue"})
        _set_cookie(response, session)
        return response

    def _login_page(self, session: DemoSession, *, problem: str, status: int) -> web.Response:
        response = self._page("login.html", session, status=status, problem=problem)
        _set_cookie(response, session)
        return response

    async def _logout(self, request: web.Request) -> web.Response:
        session = self._session(request)
        if session is not None:
            self._sessions.remove(session)
        response = web.Response(status=303, headers={"Location": "/login"})
        response.del_cookie(_COOKIE)
        return response

    async def _catalogue(self, request: web.Request, session: DemoSession) -> web.Response:
        asked = request.query.get("page", "1")
        number = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 4 else 0
        if not 1 <= number <= catalogue.PAGES:
            raise web.HTTPNotFound
        return self._page("catalogue.html", session, title="Catalogue", number=number, pages=catalogue.PAGES,
                          products=catalogue.page(session.revision, number))

    async def _product(self, request: web.Request, session: DemoSession) -> web.Response:
        found = catalogue.on_sale(session.revision, int(request.match_info["number"]))
        if found is None:
            raise web.HTTPNotFound
        return self._page("product.html", session, product=found)

    async def _search(self, request: web.Request, session: DemoSession) -> web.Response:
        wanted = request.query.get("q", "")[:100]
        found = [one for one in catalogue.products(session.revision) if wanted.casefold() in one.name.casefold()]
        return self._page("catalogue.html", session, title=f"Search for “{wanted}”", number=1, pages=1, products=found)

    async def _offers(self, request: web.Request, session: DemoSession) -> web.Response:
        """Return a page, compressed with gzip if the client accepts gzip (RFC 9110 section 8.4.1.3)."""
        response = self._one_product(session, "Offer of the day", catalogue.OFFER_ID)
        response.headers["Vary"] = "Accept-Encoding"
        if "gzip" in request.headers.get("Accept-Encoding", "") and isinstance(response.body, bytes):
            response.body = gzip.compress(response.body, mtime=0)
            response.headers["Content-Encoding"] = "gzip"
        return response

    async def _chinese(self, request: web.Request, session: DemoSession) -> web.Response:
        """Return a page that is encoded in GBK. Only the Content-Type header declares the encoding."""
        return self._one_product(session, "今日特价", catalogue.CHINESE_ID, charset="gbk", language="zh")

    async def _documents(self, request: web.Request, session: DemoSession) -> web.Response:
        return self._page("documents.html", session, files=list(files(session.revision).values()))

    async def _file(self, request: web.Request, session: DemoSession) -> web.StreamResponse:
        found = files(session.revision).get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        return await file_response(request, found)

    def _one_product(self, session: DemoSession, title: str, number: int, *, charset: str = "utf-8",
                     language: str = "en") -> web.Response:
        return self._page("catalogue.html", session, charset=charset, language=language, title=title, number=1,
                          pages=1, products=[catalogue.special(number, session.revision)])

    def _page(self, template: str, session: DemoSession, *, status: int = 200, charset: str = "utf-8",
              language: str = "en", **values: object) -> web.Response:
        text = self._templates.get_template(template).render(
            session=session, charset=charset, language=language, user=USER, **values)
        return web.Response(status=status, body=text.encode(charset, "xmlcharrefreplace"),
                            headers={"Content-Type": f"text/html; charset={charset}", "Cache-Control": "no-store"})

    def _read_files(self) -> None:
        self._password_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._password = _read(self._password_file)
        if not self._password:
            self._password = secrets.token_urlsafe(16)
            replace_file(self._password_file, f"{self._password}\n".encode())
        self._revision = int(_read(self._revision_file) or 0)


def _set_cookie(response: web.Response, session: DemoSession) -> None:
    response.set_cookie(_COOKIE, session.key, httponly=True, samesite="Lax", path="/")


def _same(given: object, wanted: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode("utf-8", "surrogatepass"), wanted.encode())


async def _home(request: web.Request) -> web.Response:
    return web.Response(status=303, headers={"Location": "/catalogue"})


async def _robots(request: web.Request) -> web.Response:
    return web.Response(text="User-agent: *\nDisallow: /logout\n")


@web.middleware
async def _plain_errors(request: web.Request,
                        handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPRedirection as found:
        return web.Response(status=found.status, headers={"Location": found.headers["Location"]})
    except web.HTTPClientError as error:
        return web.Response(status=error.status, text=f"{error.status} {error.reason}\n")


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except FileNotFoundError:
        return ""
