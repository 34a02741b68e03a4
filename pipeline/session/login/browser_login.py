"""Logs in through a form that exists only after JavaScript was executed, in the session's browser."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from playwright.async_api import Error
from playwright.async_api import Page as Tab

from pipeline.errors import LoginError
from pipeline.session.browser.login.activity import Activity
from pipeline.session.browser.login.form import FormWords, FoundForm, NotFilledError, fill_in, find_form, submit
from pipeline.session.browser.login.password_guard import PasswordGuard
from pipeline.session.login.failure_reasons import Refusal, complaint, explain
from pipeline.session.login.forms import LOGIN_WORDS, OTHER_WORDS, forms_of
from pipeline.session.login.login import Login, RenderedPages
from pipeline.session.page import Answer, Page
from pipeline.settings import LoginStepTable, secrets
from pipeline.text import clean_line

_FORM_S = 5.0
"""How long, in seconds, a login page must not change before it counts as a page without the form."""
_ANSWER_BYTES = 100_000
_WORDS = FormWords(LOGIN_WORDS.pattern, OTHER_WORDS.pattern)

Result = TypeVar("Result")


class LoginBrowser(RenderedPages, Protocol):
    """The browser in which the form is filled in."""

    def page(self) -> AbstractAsyncContextManager[Activity]:
        """A blank page, and what happens on it."""

    async def open(self, page: Tab, url: str, *, timeout_s: float) -> None:
        """Open a URL. Raises FetchError, TlsError, ProxyError or BrowserError."""

    def document(self, activity: Activity, content: str) -> Page:
        """Return the current document of a page. content: the document as HTML."""

    async def keep_storage(self, page: Tab) -> dict[str, str]:
        """Keep what the sites of a page have stored, IndexedDB included. Return the localStorage and sessionStorage of the page."""

    def run(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Run a coroutine, and return its result."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class _LoginPage:
    """The page on which the login takes place."""

    activity: Activity
    guard: PasswordGuard

    @property
    def tab(self) -> Tab:
        return self.activity.page


class BrowserLogin(Login):
    """A login whose form is filled in and submitted in a browser. The proof is that of every login: login.check."""

    def __init__(self, browser: LoginBrowser, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._browser = browser
        self._has_form_again = False
        self._told: Page | None = None
        self._stored: dict[str, str] = {}

    def log_in(self) -> str:
        before, after = self._browser.run(self._submit_forms)
        return after.answer.url if before is None else self._proof(before, after)

    async def _submit_forms(self) -> tuple[Page | None, Page]:
        """Fill in and submit the forms of all steps. Return the login page, and the page after the login.

        The first value is None if the session is logged in already.
        """
        url = self._table.url
        assert url is not None  # the settings require login.url if the login sends anything
        anonymous = not self._carries_cookies(url)
        passwords = [secret.reveal() for secret in secrets((self._table, *self._table.steps))]
        async with self._browser.page() as activity, PasswordGuard(activity.page, passwords, self._origins.trust) as guard:
            here = _LoginPage(activity, guard)
            await self._browser.open(here.tab, url, timeout_s=self._rules.timeout_s)
            found = await self._await_form(here, self._table)
            before = await self._document(here)
            if self._table.check_url is None and self._proves(before):
                if found is None or not found.is_complete:
                    return None, before
                if anonymous:
                    raise self._error(Refusal("login.check already matches on the login page, so it cannot verify a login", "",
                                              "choose a selector that matches only after a login"), before)
            if found is None or not found.is_complete:
                raise self._error(self._why_not_found(before, self._table, found), before)
            for step, following in zip((self._table, *self._table.steps), (*self._table.steps, None), strict=True):
                if found is None:  # the site skipped a step, such as a code for a known device, or refused the login
                    break
                before = await self._document(here)
                found = await self._submit_step(here, found, step, following, before)
            again = await self._look_for(here.tab, self._table)
            self._has_form_again = again is not None and again.found > 0
            after = await self._after(here)
            self._stored = await self._browser.keep_storage(here.tab)
            return before, after

    async def _submit_step(self, here: _LoginPage, found: FoundForm, step: LoginStepTable, following: LoginStepTable | None,
                           page: Page) -> FoundForm | None:
        """Fill in and submit the form of one step, and wait for what it leads to. Return the form of the next step, if it is there."""
        tab, guard = here.tab, here.guard
        address = found.frame.url if found.frame.url.startswith("http") else tab.url  # a frame without an address belongs to the page
        if not self._origins.trust(address, tab.url):
            what, fix = self._origins.refusal("the password", address, tab.url)
            raise self._error(Refusal(what, "", fix), page)
        await guard.watch_frame(found.frame)
        try:
            filled = await fill_in(tab, found, self._values(step), step.form, _WORDS, timeout_s=self._rules.timeout_s)
            problem = await submit(tab, filled)
        except NotFilledError as error:
            raise self._error(Refusal("the fields of the login form cannot be filled in", "", "correct login.fields or login.form"), page) from error
        if problem:
            raise self._error(Refusal(problem, complaint(page, await self._document(here)), "correct login.fields"), page)
        next_form = await self._await_answer(here, following)
        if guard.refused:
            what, fix = self._origins.refusal("the password", guard.refused[0], tab.url)
            raise self._error(Refusal(what, "", fix), await self._document(here))
        return next_form

    async def _await_form(self, here: _LoginPage, step: LoginStepTable) -> FoundForm | None:
        """Wait until the form is on the page, or login.check matches, or the page does not change any more."""
        last: list[FoundForm | None] = [None]

        async def look(content: str) -> bool | None:
            last[0] = await self._look_for(here.tab, step)
            complete = last[0] is not None and last[0].is_complete
            return True if complete or self._is_proof(here, content) else None

        await here.activity.until(look, timeout_s=self._rules.timeout_s, settled_s=_FORM_S)
        return last[0]

    async def _await_answer(self, here: _LoginPage, following: LoginStepTable | None) -> FoundForm | None:
        """Wait until login.check matches, the form of the next step appears, or the page does not change any more."""
        async def look(content: str) -> FoundForm | bool | None:
            if here.guard.refused or self._is_proof(here, content):
                return True
            found = await self._look_for(here.tab, following) if following is not None else None
            return found if found is not None and found.is_complete else None

        found = await here.activity.until(look, timeout_s=self._rules.timeout_s)
        return found if isinstance(found, FoundForm) else None

    async def _look_for(self, tab: Tab, step: LoginStepTable) -> FoundForm | None:
        try:
            return await find_form(tab, (*step.fields, *step.totp), step.form, _WORDS)
        except Error as error:
            if step.form is not None and "is not a valid selector" in str(error):
                raise LoginError(f"not a valid CSS selector: {clean_line(step.form, 120)}", where=f"{self._where}.form",
                                 fix="correct the selector") from error
            return None  # another document replaces this one

    def _is_proof(self, here: _LoginPage, content: str) -> bool:
        return self._table.check_url is None and self._proves(self._browser.document(here.activity, content))

    async def _document(self, here: _LoginPage) -> Page:
        async def look(content: str) -> str:
            return content

        content = await here.activity.until(look, timeout_s=self._rules.timeout_s) or ""
        return self._browser.document(here.activity, content)

    async def _after(self, here: _LoginPage) -> Page:
        """Return the page after the login. A failed request of its script, which carried the password, gives its status to the page."""
        page = await self._document(here)
        answer = here.guard.answer
        if answer is None or answer.status < 400:
            return page
        try:
            body = (await answer.body())[:_ANSWER_BYTES]
        except Error:
            body = b""
        self._told = Page(Answer(page.answer.url, answer.status, await answer.all_headers(), body))
        return Page(Answer(page.answer.url, answer.status, page.answer.headers, page.answer.body), "utf-8")

    def _asks_again(self, after: Page) -> bool:
        return self._has_form_again

    def _has_token(self, after: Page) -> Page:
        """Return the web storage of the page as a JSON object, in which values that are JSON themselves are parsed."""
        body = json.dumps({name: _parsed(value) for name, value in self._stored.items()}).encode()
        return Page(Answer(after.answer.url, after.answer.status, {"Content-Type": "application/json"}, body))

    def _why_refused(self, before: Page | None, after: Page) -> Refusal:
        if self._told is not None and not complaint(before, after):  # the script of the page shows nothing of what the site said
            return explain(None, self._told, form_again=self._has_form_again)
        return explain(before, after, form_again=self._has_form_again)

    def _why_not_found(self, page: Page, step: LoginStepTable, found: FoundForm | None) -> Refusal:
        if refusal := self._why_unusable(page):
            return refusal
        if step.form is not None:
            return self._why_no_form(page, step)
        names = found.missing if found is not None and found.found else (*step.fields, *step.totp)
        return self._lacks_fields(names, found.known if found is not None else (), forms=max(len(forms_of(page)), 1 if found is not None and found.known else 0))

    def _framed_form(self, page: Page, step: LoginStepTable, depth: int = 1) -> str:
        return ""  # frames of the page were searched


def _parsed(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value
