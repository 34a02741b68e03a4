"""Explains why a login failed, from the site's response to the login form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from selectolax.lexbor import LexborNode

from pipeline.documents.document import Document
from pipeline.session.login.forms import forms_of
from pipeline.session.page import Page
from pipeline.settings import SelectorTable
from pipeline.text import clean_line

_LONGEST_QUOTE = 200
_ALERTS = re.compile(r"error|alert|invalid|danger|warning|message|flash|feedback|fail|notice", re.IGNORECASE)
_COMPLAINTS = re.compile(r"wrong|incorrect|invalid|fail|denied|not match|error|try again|unknown|expired|locked|captcha|"
                         r"too many|falsch|ungültig|错误|失败|不正确|不存在|锁定|验证码", re.IGNORECASE)
_CAPTCHA = re.compile(r"captcha|verification code|are you (a )?(human|robot)|验证码", re.IGNORECASE)
_LOCKED = re.compile(r"\block(ed|out)\b|too many|blocked|suspended|disabled|deactivated|锁定|次数过多|冻结", re.IGNORECASE)
_LONGEST_CHALLENGE = 2000
_CAPTCHA_WIDGETS = (
    "[class*='g-recaptcha'], [class*='h-captcha'], [class*='cf-turnstile'], iframe[src*='captcha'], "
    "script[src*='challenges.cloudflare.com'], input[name*='captcha' i], input[id*='captcha' i]")
_CODE_FIELDS = "input[autocomplete='one-time-code'], input[name*='otp' i]"
_CSRF = re.compile(r"csrf|cross.site request|forgery", re.IGNORECASE)
_SCRIPTS = re.compile(r"(enable|requires?|needs?|turn on|without) java\s?script|javascript (is )?(required|disabled|needed|must)"
                      r"|checking your browser|just a moment", re.IGNORECASE)
_UNSEEN = frozenset({"script", "style", "noscript", "template"})
_NO_MESSAGES = frozenset({"option", "textarea", "button", "label", "title", "a"})


@dataclass(frozen=True)
class Refusal:
    """The reason for a failed login, and how to fix the problem.

    said: the error message on the site's page, cleaned; "" if the page has none. retry: whether a later attempt may succeed with
    the same settings.
    """

    what: str
    said: str
    fix: str
    retry: bool = False


def explain(before: Page | None, after: Page, *, form_again: bool) -> Refusal:
    """Return the reason why a login failed.

    before: the login page, whose texts are not error messages; after: the page after the login; form_again: whether the page
    after the login contains the login form again.
    """
    status = after.answer.status
    said = complaint(before, after)
    if status >= 500:
        return Refusal(f"the site responded with a server error (status {status})", said, "try again later", retry=True)
    if status == 429 or _LOCKED.search(said):
        return Refusal("the account is locked, or there were too many login attempts", said, "wait, then log in with a browser",
                       retry=status == 429)
    if _CAPTCHA.search(said) or (not said and asks_captcha(after)):
        return Refusal("the site asks for a captcha", said,
                       "log in with a browser and import its cookies: `pipeline cookies import`")
    if _has_code_field(after) and not _password_form(after):
        if before is not None and _has_code_field(before):
            return Refusal("the one-time code was not accepted", said, "check login.totp and this machine's clock",
                           retry=True)
        return Refusal("the site asks for a one-time code", said, "add a step with totp to login.steps, or log in with "
                       "a browser and import its cookies: `pipeline cookies import`")
    if status == 403 and (_CSRF.search(said) or (not said and _CSRF.search(_title(after)))):
        return Refusal("the site refused the form (CSRF check)", said, "check that login.url is the page with the form")
    return _of_the_page(after, said, form_again=form_again)


def _of_the_page(after: Page, said: str, *, form_again: bool) -> Refusal:
    """Return one of the general reasons: the page requires scripts, the password is wrong, or login.check is wrong."""
    status = after.answer.status
    if not form_again and asks_for_scripts(after):
        return Refusal("the site requires a browser that runs scripts", said,
                       "log in with a browser and import its cookies: `pipeline cookies import`")
    if status in (401, 403) or form_again or (said and (status >= 400 or _COMPLAINTS.search(said))):
        return Refusal("the user name or password was not accepted", said, "correct login.fields")
    return Refusal(f"the login was sent, but login.check matches nothing on the page after the login (status {status})", said,
                   "correct login.check, or set login.check_url to a page on which login.check matches")


def _title(page: Page) -> str:
    """Return the text of a page's title and main headings."""
    return " ".join(node.text() for node in page.document.lexbor.css("title, h1"))


def asks_for_scripts(page: Page) -> bool:
    """Return whether a page has no content except a message that scripts are required."""
    return is_challenge(page.document)


def is_challenge(document: Document) -> bool:
    """Return whether a document has no content except a message that scripts are required.

    Bot protection services show such a document as a challenge.
    """
    body = document.lexbor.css_first("body")
    if body is None or document.lexbor.css_first("script, noscript") is None:
        return False
    seen = " ".join(_seen_text(body).split())
    title = " ".join(node.text() for node in document.lexbor.css("title, h1"))
    if len(seen) > _LONGEST_CHALLENGE:
        return False
    return _SCRIPTS.search(f"{seen} {title}") is not None or (
        not seen and _SCRIPTS.search(" ".join(node.text() for node in document.lexbor.css("noscript"))) is not None)


def asks_captcha(page: Page) -> bool:
    return page.document.lexbor.css_first(_CAPTCHA_WIDGETS) is not None


def complaint(before: Page | None, after: Page) -> str:
    """Return the error message on the page `after`; "" if there is none.

    The error message is the text of an alert on the page `after` that is not also on the page `before`.
    """
    if told := _told_in_json(after):
        return clean_line(told, _LONGEST_QUOTE)
    old = {text for _, text in _blocks(before)} if before is not None else set()
    fresh = [(element, text) for element, text in _blocks(after) if text not in old]
    for element, text in fresh:
        marks = " ".join(f"{_attribute(each, 'class')} {_attribute(each, 'id')}" for each in _near(element))
        if _attribute(element, "role") == "alert" or _ALERTS.search(marks):
            return clean_line(text, _LONGEST_QUOTE)
    return next((clean_line(text, _LONGEST_QUOTE) for _, text in fresh
                 if len(text) <= _LONGEST_QUOTE and _COMPLAINTS.search(text)), "")


def _told_in_json(page: Page) -> str:
    """Return the error message in an API's JSON response with an error status; "" if there is none.

    The usual JSON keys of error messages are tried (RFC 9457; RFC 6749, 5.2; common practice).
    """
    if page.answer.status < 400:
        return ""
    for path in ("detail", "error_description", "error.message", "message", "errors[0].message", "errors[0]", "error",
                 "title"):
        if said := page.value(SelectorTable(jmes=path)):
            return said
    return ""


def _blocks(page: Page) -> Iterator[tuple[LexborNode, str]]:
    """Yield the visible elements that directly contain text, each with its whole visible text."""
    body = page.document.lexbor.css_first("body")
    waiting = _seen_children(body) if body is not None else []
    while waiting:
        element = waiting.pop(0)
        if element.tag not in _NO_MESSAGES and any(
                child.is_text_node and (child.text_content or "").strip() for child in element.iter(include_text=True)):
            yield element, " ".join(_seen_text(element).split())
        waiting[:0] = _seen_children(element)


def _seen_children(element: LexborNode) -> list[LexborNode]:
    return [child for child in element.iter(include_text=False) if not _is_unseen(child)]


def _is_unseen(element: LexborNode) -> bool:
    attributes = element.attributes
    return (element.tag in _UNSEEN or "hidden" in attributes
            or "display:none" in (attributes.get("style") or "").replace(" ", ""))


def _seen_text(element: LexborNode) -> str:
    found: list[str] = []
    waiting = [element]
    while waiting:
        node = waiting.pop(0)
        if node.is_text_node:
            found.append(node.text_content or "")
        elif node.is_element_node and not _is_unseen(node):
            waiting[:0] = list(node.iter(include_text=True))
    return "".join(found)


def _near(element: LexborNode) -> list[LexborNode]:
    """Return the element, its parent and its grandparent, except body, html, form and main."""
    found, parent = [element], element.parent
    while parent is not None and len(found) < 3:
        if parent.is_element_node and parent.tag not in ("body", "html", "form", "main"):
            found.append(parent)
        parent = parent.parent
    return found


def _attribute(element: LexborNode, name: str) -> str:
    return element.attributes.get(name) or ""


def _has_code_field(page: Page) -> bool:
    return page.document.lexbor.css_first(_CODE_FIELDS) is not None


def _password_form(page: Page) -> bool:
    return any(form.has_password for form in forms_of(page))
