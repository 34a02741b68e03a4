"""Logs in through a form or an API, and verifies the login: after the login, `check` must match."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl, urlsplit

import requests
from selectolax.lexbor import SelectolaxError

from pipeline.errors import FetchError, LoginError, PipelineError, SpiderError
from pipeline.secret_forms import SecretForms
from pipeline.session.client import Client, fetch
from pipeline.session.login.expiry import same_page
from pipeline.session.login.failure_reasons import Refusal, asks_captcha, asks_for_scripts, explain
from pipeline.session.login.forms import Form, choose_form, forms_of, frames_of
from pipeline.session.login.submission import Submission
from pipeline.session.login.totp import totp_code
from pipeline.session.page import Page
from pipeline.session.refreshes import follow_refreshes
from pipeline.session.request_rules import RequestRules
from pipeline.session.requests import reveal
from pipeline.settings import LoginStepTable, LoginTable, Secret, SelectorTable, nearest, secrets
from pipeline.text import MASK, clean_line, counted, shown_url

Read = TypeVar("Read")
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
_MOST_FRAMES = 5
_MOST_FRAMES_DEEP = 3

KeepPage = Callable[[bytes], Path]
"""A function that saves the body of a page to a file, so that the user can inspect it, and returns the path of the file."""
IsWanted = Callable[[Page], bool]


class RenderedPages(Protocol):
    """A browser of the session, for the pages that the spider renders."""

    def renders(self, url: str) -> bool: ...

    def render(self, url: str, is_wanted: IsWanted, *, timeout_s: float) -> Page:
        """Open a page, and return it as soon as `is_wanted` accepts it, or when it does not change any more.

        Raises ProxyError, TlsError, FetchError or BrowserError.
        """


class Login:
    """Logs in one spider through one client.

    rules: the rules for the requests of the login; only the origins in `rules.body_origins` receive the password. where: the name
    of the settings table, for error messages; keep_page: a function that saves the page of a failed login; take_token: a function
    that is called with the token that an API returned; rendered: a browser for the pages on which login.check is tested, or None.
    """

    def __init__(self, table: LoginTable, client: Client, rules: RequestRules, *, where: str, keep_page: KeepPage,
                 take_token: Callable[[str], None], rendered: RenderedPages | None = None, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._client = client
        self._rendered = rendered
        self._rules = rules
        self._where = where
        self._keep_page = keep_page
        self._take_token = take_token
        self._origins = rules.body_origins
        self._clock = clock

    def holds_at(self, url: str, *, by_access: bool = False, certain: bool = False) -> bool:
        """Open `url`, in a browser if the spider renders it, and return whether the page shows that the session is logged in.

        By default, the session is logged in if login.check matches on the page. by_access: instead, the session is logged in if
        the page has no error status and is not the login page; certain: whether to raise FetchError if the server responds with
        status 429 or 5xx, instead of returning False. Raises ProxyError, TlsError, FetchError or LoginError.
        """
        shows = self._is_accessible if by_access else self._proves
        page = self._look_at(url, (lambda page: False) if by_access else shows)
        holds = shows(page)
        if not holds and certain and (page.answer.status >= 500 or page.answer.status == 429):
            raise FetchError(f"the page on which login.check is tested responded with status {page.answer.status}", where=shown_url(url),
                             fix="try again later", retry=True)
        return holds

    def log_in(self) -> str:
        """Fill in and send the login form, or call the API, and verify the login.

        Return the URL of the page on which login.check matched; "" if the URL contains a password. Raises ProxyError, TlsError,
        FetchError, or LoginError with the site's error message; the page of a failed login is saved.
        """
        url = self._table.url
        assert url is not None  # the settings require login.url if the login sends anything
        if self._table.json_:
            return self._log_in_by_api(url)
        anonymous = not self._carries_cookies(url)
        page = self._get(url, self._shows_form(self._table))
        form = self._form_of(page, self._table)
        if self._table.check_url is None and self._proves(page):
            if form is None:
                return page.answer.url
            if anonymous:
                raise self._error(Refusal("login.check already matches on the login page, so it cannot verify a login", "",
                                          "choose a selector that matches only after a login"), page)
        if form is None:
            raise self._error(self._why_no_form(page, self._table), page)
        first, *following = (*self._table.steps, None)
        before, page = page, self._submit(page, form, self._table, self._shows_form(first))
        for step, after in zip(self._table.steps, following, strict=True):
            form = self._form_of(page, step)
            if form is None:  # the site skipped a step (such as a code for a known device), or refused the login
                break
            before, page = page, self._submit(page, form, step, self._shows_form(after))
        return self._proof(before, page)

    def _log_in_by_api(self, url: str) -> str:
        body = json.dumps(_revealed(self._table.fields), ensure_ascii=False).encode()
        answer = self._send(Submission("POST", url, body, "application/json"), url, self._proves)
        return self._proof(None, answer)

    def _proof(self, before: Page | None, after: Page) -> str:
        """Verify the login, and return the URL of the page on which login.check matched.

        Return "" if the URL contains a password. before: the login page; after: the page after the login. If the login has an API
        token, it is read from this page first. Raises LoginError if login.check does not match or the token is missing.
        """
        page = after
        if self._table.token is not None:
            if not (token := self._read(self._has_token(after).value, self._table.token, "token")):
                raise self._error(self._why_no_token(before, after), after)
            if not _TOKEN.fullmatch(token):
                raise self._error(Refusal("login.token selected a text with characters that are not allowed in a header", "", "correct login.token"),
                                  after)
            self._take_token(token)
        if self._table.check_url is not None and after.answer.status < 500:
            page = self._look_at(self._table.check_url, self._proves)
        if self._proves(page):
            return "" if self._tells_secret(page.answer.url) else page.answer.url
        raise self._error(self._why_refused(before, after), after)

    def _has_token(self, after: Page) -> Page:
        """Return the page to which login.token is applied. after: the page after the login."""
        return after

    def _why_no_token(self, before: Page | None, answer: Page) -> Refusal:
        status, refusal = answer.answer.status, self._why_refused(before, answer)
        if status < 400 and not refusal.said:
            return Refusal(f"login.token found nothing in the response to the login (status {status})", "",
                           "correct login.token")
        return refusal

    def _asks_again(self, after: Page) -> bool:
        """Return whether the page after a failed login has the login form again."""
        return not self._table.json_ and self._form_of(after, self._table) is not None

    def _why_refused(self, before: Page | None, after: Page) -> Refusal:
        form_again = self._asks_again(after)
        refusal = explain(before, after, form_again=form_again)
        if form_again and after.answer.status < 400 and not refusal.said and not self._carries_cookies(after.answer.url):
            return Refusal("after the login, the site shows the login form again and has set no cookie that could identify the session", "",
                           "correct login.fields, or set login.url to the address that browsers show (https, the right host)")
        return refusal

    def _tells_secret(self, url: str) -> bool:
        """Return whether a URL contains a password in its query, as after a login form that was sent with GET.

        Such a URL is not stored.
        """
        told = {value for _, value in parse_qsl(urlsplit(url).query)}
        return any(secret.reveal() in told for secret in secrets((self._table, *self._table.steps)))

    def _shows_form(self, step: LoginStepTable | None) -> IsWanted:
        """Return a function that tests whether a page has the form of `step`, or matches login.check already."""
        return lambda page: (step is not None and self._form_of(page, step) is not None) or self._proves(page)

    def _form_of(self, page: Page, step: LoginStepTable) -> Form | None:
        try:
            return choose_form(page, [*step.fields, *step.totp], step.form, is_trusted=self._origins.trust)
        except SelectolaxError as error:
            raise LoginError(f"not a valid CSS selector: {clean_line(step.form or '', 120)}", where=f"{self._where}.form",
                             fix="correct the selector") from error

    def _submit(self, page: Page, form: Form, step: LoginStepTable, is_wanted: IsWanted) -> Page:
        try:
            submission = form.submission(self._values(step))
        except ValueError as error:
            raise self._error(Refusal("the form's action is not an http(s) URL", "", "select another form in login.form"),
                              page) from error
        if submission.method == "DIALOG":
            raise self._error(Refusal("the form has the method dialog, which sends nothing", "",
                                      "select another form in login.form"), page)
        if not self._origins.trust(submission.url, page.answer.url):
            what, fix = self._origins.refusal("the password", submission.url, page.answer.url)
            raise self._error(Refusal(what, "", fix), page)
        return self._send(submission, page.answer.url, is_wanted)

    def _values(self, step: LoginStepTable) -> dict[str, str]:
        values = {name: reveal(value) for name, value in step.fields.items() if isinstance(value, (str, Secret))}
        return values | {name: totp_code(secret.reveal(), self._clock()) for name, secret in step.totp.items()}

    def _send(self, submission: Submission, referer: str, is_wanted: IsWanted) -> Page:
        parts = urlsplit(referer)
        headers = {"Referer": referer.partition("#")[0]}
        if submission.method == "POST":
            headers |= {"Origin": f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
                        "Content-Type": submission.content_type}
        return self._fetch(submission.method, submission.url, is_wanted, headers=headers, body=submission.body)

    def _look_at(self, url: str, is_wanted: IsWanted) -> Page:
        """Return the page on which login.check is tested, as the spider itself gets it: rendered in a browser, or as it was sent."""
        if self._rendered is not None and self._rendered.renders(url):
            return self._rendered.render(url, is_wanted, timeout_s=self._rules.timeout_s)
        return self._get(url, is_wanted)

    def _get(self, url: str, is_wanted: IsWanted) -> Page:
        return self._fetch("GET", url, is_wanted)

    def _fetch(self, method: str, url: str, is_wanted: IsWanted, **request: Any) -> Page:
        """Fetch a page. If `is_wanted` does not accept the page, follow its meta refresh."""
        answer = fetch(self._client, method, url, max_bytes=self._rules.max_page_bytes, timeout_s=self._rules.timeout_s, **request)
        return follow_refreshes(self._client, Page(answer, self._rules.encoding), method=method, is_wanted=is_wanted,
                                encoding=self._rules.encoding, max_bytes=self._rules.max_page_bytes, timeout_s=self._rules.timeout_s)

    def _is_accessible(self, page: Page) -> bool:
        login_page = self._table.url is not None and same_page(page.answer.url, self._table.url)
        return page.answer.status < 400 and not login_page

    def _proves(self, page: Page) -> bool:
        return self._read(page.matches, self._table.check, "check")

    def _read(self, read: Callable[[SelectorTable], Read], selector: SelectorTable, key: str) -> Read:
        try:
            return read(selector)
        except SpiderError as error:
            raise LoginError(error.what, where=f"{self._where}.{key}", fix="correct the selector") from error

    def _carries_cookies(self, url: str) -> bool:
        return "Cookie" in self._client.prepare_request(requests.Request("GET", url)).headers

    def _why_no_form(self, page: Page, step: LoginStepTable) -> Refusal:
        if refusal := self._why_unusable(page):
            return refusal
        forms = forms_of(page)
        if framed := self._framed_form(page, step):
            return Refusal(f"the login form is not on the login page itself, but in a frame at {shown_url(framed)}", "",
                           f"set login.url to {shown_url(framed)}")
        if step.form is not None:
            return Refusal("login.form selects no form on the login page, which has " + (counted(len(forms), "form") if forms else "none"), "",
                           "correct login.form")
        frames = "" if any(form.has_password for form in forms) else clean_line(", ".join(map(shown_url, frames_of(page)[:3])), 300)
        refusal = self._lacks_fields((*step.fields, *step.totp), [name for form in forms for name in form.names], forms=len(forms), frames=frames)
        if frames or any(form.has_password for form in forms) or page.document.lexbor.css_first("script") is None:
            return refusal
        return replace(refusal, fix="correct login.fields or login.url, or set login.browser = true if the form is built by JavaScript")

    def _lacks_fields(self, names: Iterable[str], known: Sequence[str], *, forms: int, frames: str = "") -> Refusal:
        """Return the reason that the fields `names` are not on the login page.

        known: the fields on the page. forms: the number of its forms. frames: the addresses of frames that may have the form.
        """
        missing = [name + nearest(name, known) for name in names]
        listed = clean_line(", ".join(known), 120) or "none"
        return Refusal(f"{_no_field(forms)} {' or '.join(missing)}; fields found: {listed}{frames and f'; the form may be in a frame, at {frames}'}", "",
                       "correct login.fields or login.url" + (", or set login.url to the frame that shows the form" if frames else ""))

    def _why_unusable(self, page: Page) -> Refusal | None:
        """Return why a page cannot be used for a login at all; None if it merely lacks the form."""
        status = page.answer.status
        if status >= 500:
            return Refusal(f"the login page responded with a server error (status {status})", "", "try again later", retry=True)
        if asks_captcha(page):
            return Refusal("the login page asks for a captcha", "",
                           "log in with a browser and import its cookies: `pipeline cookies import`")
        if not forms_of(page) and asks_for_scripts(page):
            return Refusal("the login page requires a browser that runs scripts", "", _needs_browser(self._table))
        if status == 401 and "WWW-Authenticate" in page.answer.headers:
            return Refusal("the login page requires HTTP authentication", "",
                           "set or correct auth = { type = \"basic\", user = …, password = … } for this spider")
        if status >= 400:
            return Refusal(f"the login page responded with status {status}", "", "correct login.url")
        return None

    def _framed_form(self, page: Page, step: LoginStepTable, depth: int = 1) -> str:
        """Return the URL of the frame that contains the form of `step`; "" if no frame contains the form.

        Only the first _MOST_FRAMES frames of a page are searched, and the frames inside these frames.
        """
        for url in frames_of(page)[:_MOST_FRAMES]:
            if not self._origins.trust(url, page.answer.url):
                continue
            with suppress(PipelineError):
                framed = self._get(url, lambda page: True)
                if self._form_of(framed, step) is not None:
                    return framed.answer.url
                if depth < _MOST_FRAMES_DEEP and (inner := self._framed_form(framed, step, depth + 1)):
                    return inner
        return ""

    def _error(self, refusal: Refusal, page: Page) -> LoginError:
        """Save the page, and return the LoginError that reports `refusal`.

        Passwords that the page repeats are masked in the message and in the saved file.
        """
        steps = (self._table, *self._table.steps)
        hidden = SecretForms((secret.reveal() for secret in secrets(steps)), shortest=1)
        said = f": “{hidden.removed_from_text(refusal.said, MASK)}”" if refusal.said else ""
        kept = self._keep_page(hidden.removed_from_text(page.text, MASK).encode(page.encoding, "xmlcharrefreplace"))
        return LoginError(f"{refusal.what}{said}", where=f"{self._where} ({shown_url(page.answer.url)})",
                          fix=f"{refusal.fix}; the page is saved in {kept}", retry=refusal.retry)


def _revealed(value: Any) -> Any:
    """Replace the secrets in the fields of an API login with their plain text, for the JSON body."""
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, dict):
        return {name: _revealed(entry) for name, entry in value.items()}
    return [_revealed(entry) for entry in value] if isinstance(value, list) else value


def _needs_browser(table: LoginTable) -> str:
    """Return how to log in at a site that requires a browser."""
    if table.browser:  # a challenge that recognizes a browser without a person
        return "log in with a browser and import its cookies: `pipeline cookies import`"
    return "set login.browser = true, so that a browser fills in the form"


def _no_field(forms: int) -> str:
    """Return the beginning of a message about a field that is in none of the forms of a page. forms: number of the forms."""
    if forms < 2:
        return "the form on the login page has no field" if forms else "the login page has no form with a field"
    return f"none of the {forms} forms on the login page has a field"
