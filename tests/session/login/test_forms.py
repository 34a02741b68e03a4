"""The entries, target and encoding of a submitted form, compared with browsers.

One table for each kind.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pipeline.session.login.forms import choose_form, forms_of
from pipeline.session.login.submission import Submission
from pipeline.session.page import Answer, Page

URL = "https://site.example/members/login?next=1"
VALUES = {"user": "me", "pass": "pw"}
NAMED = "<input name=user><input name=pass type=password>"


def page_of(html: str | bytes, url: str = URL, content_type: str = "text/html; charset=utf-8") -> Page:
    body = html if isinstance(html, bytes) else html.encode()
    return Page(Answer(url, 200, {"Content-Type": content_type}, body))


def sent(html: str | bytes, values: Mapping[str, str] = VALUES, css: str | None = None,
         content_type: str = "text/html; charset=utf-8") -> Submission:
    form = choose_form(page_of(html, content_type=content_type), values, css)
    assert form is not None
    return form.submission(values)


OWNERS = {
    "closed early by its div": "<div><form action=/login method=post><input type=hidden name=csrf value=c></div>"
                               f"<div>{NAMED}<button name=go value=1>In</button></form></div>",
    "opened in a row of a table": "<table><tr><form action=/login method=post><input type=hidden name=csrf value=c>"
                                  "<td><input name=user><td><input name=pass type=password><td><button name=go value=1>"
                                  "</form></table>",
    "around nested tables": "<table><form action=/login method=post><tr><td><table><tr><td><input name=csrf value=c>"
                            f"{NAMED}</td></tr></table><button name=go value=1>In</button></form></table>",
    "inputs put before their table": f"<form action=/login method=post><table><input name=csrf value=c>{NAMED}"
                                     "<tr><td><button name=go value=1>In</button></table></form>",
    "closed by </center>": "<center><form action=/login method=post><input type=hidden name=csrf value=c></center>"
                           f"{NAMED}<button name=go value=1>In</button>",
    "a paragraph in a label": "<form action=/login method=post><input name=csrf value=c><p><label>User<p>"
                              "<input name=user></label><input name=pass type=password><button name=go value=1></form>",
    "a form in a form": f"<form action=/login method=post><input name=csrf value=c>{NAMED}"
                        "<form action=/nested><button name=go value=1>In</button></form>",
    "</form> in a comment and in a script": '<form action=/login method=post><!-- </form> --><script>"</form>"</script>'
                                            f'<input name=csrf value=c>{NAMED}<button name=go value=1>',
    "</form> in an attribute": f'<form action=/login method=post title="</form>"><input name=csrf value=c>{NAMED}'
                               '<button name=go value=1>',
    "</form> in a template": "<form action=/login method=post><template></form></template><input name=csrf value=c>"
                             f"{NAMED}<button name=go value=1></form>",
    "controls elsewhere that name it": "<form id=f action=/login method=post><input name=csrf value=c></form>"
                                       "<form action=/search><input form=f name=user><input form=f name=pass "
                                       "type=password><button form=f name=go value=1>In</button><input name=q></form>",
    "after an early </html>": "<body><p>Welcome</body></html><form action=/login method=post>"
                              f"<input name=csrf value=c>{NAMED}<button name=go value=1>In</button></form>",
    "closed inside of a div that goes on": f"<form action=/login method=post><div><input name=csrf value=c></form>{NAMED}"
                                           "<button name=go value=1>In</button></div>",
    "never closed": f"<form action=/login method=post><input name=csrf value=c>{NAMED}<button name=go value=1>In",
    "capital letters": "<FORM ACTION=/login METHOD=POST><INPUT NAME=csrf VALUE=c><INPUT NAME=user>"
                       "<INPUT NAME=pass TYPE=PASSWORD><BUTTON NAME=go VALUE=1>In</BUTTON></FORM>",
}


@pytest.mark.parametrize("html", OWNERS.values(), ids=OWNERS)
def test_a_form_sends_the_controls_that_belong_to_it(html: str) -> None:
    submission = sent(f"<!doctype html>{html}")
    assert submission.url == "https://site.example/login"
    assert submission.method == "POST"
    assert submission.body == b"csrf=c&user=me&pass=pw&go=1"


@pytest.mark.parametrize("html", [
    f"<template><form action=https://evil.example/steal method=post>{NAMED}</form></template>",
    f"<noscript><template><form action=/x>{NAMED}</form></template></noscript>",
    f'<script>document.write("<form action=/x>{NAMED}</form>")</script>', f"<!-- <form action=/x>{NAMED}</form> -->",
    f"<textarea><form action=/x>{NAMED}</form></textarea>", f"<title><form action=/x>{NAMED}</form></title>",
    f'<div title="<form action=/x>{NAMED.replace(chr(34), "")}</form>">'])
def test_an_element_that_is_not_a_form_never_gets_a_password(html: str) -> None:
    assert forms_of(page_of(html)) == []
    assert choose_form(page_of(html), VALUES, None) is None
    assert choose_form(page_of(html), VALUES, "form, template, textarea") is None
    real = f"<form action=/login method=post>{NAMED}</form>"
    assert sent(html + real).url == sent(real + html).url == "https://site.example/login"


CONTROLS = {
    "a checkbox that is ticked": ("<input type=checkbox name=keep checked>", {}, "keep=on"),
    "a checkbox that is not": ("<input type=checkbox name=keep value=1>", {}, ""),
    "a checkbox ticked by its value": ("<input type=hidden name=keep value=0><input type=checkbox name=keep value=1>",
                                       {"keep": "1"}, "keep=0&keep=1"),
    "a checkbox that is unticked": ("<input type=checkbox name=keep value=1 checked>", {"keep": ""}, ""),
    "one of several checkboxes": ("<input type=checkbox name=a value=1><input type=checkbox name=a value=2>",
                                  {"a": "2"}, "a=2"),
    "the last radio button that is checked": (("<input type=radio name=r value=1 checked><input type=radio name=r value=2 "
                                              "checked>"), {}, "r=2"),
    "a radio button picked by its value": ("<input type=radio name=r value=1 checked><input type=radio name=r value=2>",
                                           {"r": "2"}, "r=2"),
    "the first option that is not disabled": (('<select name=s><option disabled value="">Choose<option>  two \n words '
                                              '</select>'), {}, "s=two+words"),
    "the last option that is selected": ("<select name=s><option selected>1<option selected value=b>2</select>", {}, "s=b"),
    "several options": ("<select name=s multiple><option selected>1<option>2<option selected>3</select>", {}, "s=1&s=3"),
    "several options of which none": ("<select name=s multiple><option>1</select>", {}, ""),
    "a list box of which none": ("<select name=s size=4><option>1</select>", {}, ""),
    "an option of a disabled group": ("<select name=s><optgroup disabled><option>1</optgroup><optgroup><option>2</select>",
                                      {}, "s=2"),
    "a selected option that is disabled": ("<select name=s><option selected disabled>1<option>2</select>", {}, ""),
    "an option with an empty value": ("<select name=s><option value>All</select>", {}, "s="),
    "a textarea": ("<textarea name=t>\n\na\r\nb\rc</textarea>", {}, "t=%0D%0Aa%0D%0Ab%0D%0Ac"),
    "a disabled control": ("<input name=d value=1 disabled>", {}, ""),
    "a disabled fieldset": (("<fieldset disabled><legend><input name=in value=1></legend><input name=out value=1>"
                            "<legend><input name=second value=1></legend></fieldset>"), {}, "in=1"),
    "a datalist": ("<datalist><option value=x><input name=d value=1></datalist>", {}, ""),
    "a control without a name": ('<input value=1><input name="" value=2>', {}, ""),
    "a file": ("<input type=file name=f>", {}, "f="),
    "a reset button": ("<input type=reset name=r value=1><button type=button name=b value=1>", {}, ""),
    "the encoding": ("<input type=hidden name=_charset_>", {}, "_charset_=UTF-8"),
    "a direction": ("<input name=q value=a dirname=q.dir>", {}, "q=a&q.dir=ltr"),
    "a direction set above": ("<p dir=rtl><input name=q dirname=q.dir></p>", {}, "q=&q.dir=rtl"),
    "a direction of the text": ('<input name=q value="שלום" dir=auto dirname=d>', {},
                                "q=%D7%A9%D7%9C%D7%95%D7%9D&d=rtl"),
    "line breaks in a text": ('<input name=q value="a\nb">', {}, "q=ab"),
    "blanks around an address": ('<input type=email name=q value=" a@b ">', {}, "q=a%40b"),
    "a number that is none": ("<input type=number name=n value=abc><input type=number name=m value=1.5>", {}, "n=&m=1.5"),
    "a range and a colour": ("<input type=range name=r max=10><input type=color name=c>", {}, "r=5&c=%23000000"),
    "an unknown type": ("<input type=username name=q value=1>", {}, "q=1"),
    "an output and an object": ("<output name=o>1</output><object name=x data=y></object>", {}, ""),
    "a value with marks of its own": ("<textarea name=t><input name=z></textarea>", {}, "t=%3Cinput+name%3Dz%3E"),
    "a field the page lacks": ("", {"extra": "1"}, "extra=1"),
    "letters that stay": ('<input name=q value="a b*-._~+&=é">', {}, "q=a+b*-._%7E%2B%26%3D%C3%A9"),
    "a name with a line break": ('<input name="a\nb" value=1>', {}, "a%0D%0Ab=1"),
}


@pytest.mark.parametrize(("html", "values", "body"), CONTROLS.values(), ids=CONTROLS)
def test_a_control_sends_what_a_browser_sends(html: str, values: dict[str, str], body: str) -> None:
    submission = sent(f"<form method=post action=/login><input name=user>{html}</form>", {"user": "me", **values})
    assert submission.body.decode() == "&".join(filter(None, ["user=me", body]))


BUTTONS = {
    "the first by default": ("<button name=a value=1>A</button><button name=b value=2>B</button>", {}, "a=1", "/login"),
    "the one that is named": ("<button name=a value=1>A</button><button name=b value=2 formaction=/b>B</button>",
                              {"b": "2"}, "b=2", "/b"),
    "the one with the named value": (("<button name=how value=link formaction=/mail>A</button>"
                                     "<button name=how value=password formaction=/pass>B</button>"),
                                     {"how": "password"}, "how=password", "/pass"),
    "one outside that names the form": ("</form><button form=f name=how value=x formaction=/out>B</button>", {}, "how=x",
                                        "/out"),
    "one that is disabled is passed over": ("<button disabled name=a>A</button><input type=submit name=b>", {}, "b=Submit",
                                            "/login"),
    "one without a name": ("<button value=1>A</button><button name=b value=1>B</button>", {}, "", "/login"),
    "an image": ("<input type=image name=how src=x formaction=/image>", {}, "how.x=1&how.y=1", "/image"),
    "an image that is named": ("<button name=a>A</button><input type=image name=how>", {"how": ""}, "how.x=1&how.y=1",
                               "/login"),
    "an image named with its coordinate": ("<button name=a>A</button><input type=image name=how>", {"how.x": "7"},
                                           "how.x=7&how.y=1", "/login"),
    "an image without a name": ("<input type=image>", {}, "x=1&y=1", "/login"),
    "a button of no known type": ("<button type=login name=a value=1>A</button>", {}, "a=1", "/login"),
    "an empty formaction": ('<button formaction="">A</button>', {}, "", "/members/login?next=1"),
}


@pytest.mark.parametrize(("html", "values", "body", "place"), BUTTONS.values(), ids=BUTTONS)
def test_the_pressed_button_decides_the_target_of_a_form(html: str, values: dict[str, str], body: str, place: str) -> None:
    submission = sent(f"<form id=f method=post action=/login><input name=user>{html}</form>", {"user": "me", **values})
    assert submission.body.decode() == "&".join(filter(None, ["user=me", body]))
    assert submission.url == f"https://site.example{place}"


ACTIONS = {
    "none": ("<form method=post>", URL),
    "empty": ("<form method=post action='  '>", URL),
    "an empty one with GET replaces the query": ("<form>", "https://site.example/members/login?user=me"),
    "a query of its own with GET": ("<form action=/in?old=1#part>", "https://site.example/in?user=me"),
    "a query of its own with POST": ("<form method=post action='in?old=1#part'>", "https://site.example/members/in?old=1"),
    "a base": ("<base href=/app/><base href=/second/><form method=post action=in>", "https://site.example/app/in"),
    "an empty one with a base": ("<base href=/app/><form method=post action=''>", URL),
    "a base in a template": ("<template><base href=//evil.example/></template><form method=post action=in>",
                             "https://site.example/members/in"),
    "back slashes": (r"<form method=post action='\in'>", "https://site.example/in"),
    "line breaks": ("<form method=post action='/i\nn'>", "https://site.example/in"),
    "an unknown method": ("<form method=put action=/in>", "https://site.example/in?user=me"),
}


@pytest.mark.parametrize(("start", "url"), ACTIONS.values(), ids=ACTIONS)
def test_an_action_is_resolved_as_in_a_browser(start: str, url: str) -> None:
    assert sent(f"{start}<input name=user></form>", {"user": "me"}).url == url


def test_a_button_changes_method_and_encoding() -> None:
    html = "<form action=/in{}><input name=user><button formmethod=post formenctype=text/plain>In</button></form>"
    submission = sent(html.format(" method=get enctype=multipart/form-data"), {"user": "me\nyou"})
    assert (submission.method, submission.content_type) == ("POST", "text/plain")
    assert submission.body == b"user=me\r\nyou\r\n"


def test_a_multipart_form_escapes_names_and_sends_empty_files() -> None:
    submission = sent('<form method=post enctype=multipart/form-data><input name=user><input name=\'a"b\' value="x">'
                      '<input type=file name=f></form>', {"user": "é\n"})
    boundary = submission.content_type.partition("boundary=")[2].encode()
    assert submission.content_type.startswith("multipart/form-data; boundary=")
    assert submission.body.split(b"--" + boundary) == [
        b"", b'\r\nContent-Disposition: form-data; name="user"\r\n\r\n\xc3\xa9\r\n\r\n',
        b'\r\nContent-Disposition: form-data; name="a%22b"\r\n\r\nx\r\n',
        b'\r\nContent-Disposition: form-data; name="f"; filename=""\r\nContent-Type: application/octet-stream\r\n\r\n\r\n',
        b"--\r\n"]


@pytest.mark.parametrize(("charset", "accept", "name", "value"), [
    ("gb2312", "", "GBK", "%D6%D0"), ("iso-8859-1", "", "windows-1252", "%26%2320013%3B"),
    ("shift_jis", "", "Shift_JIS", "%92%86"), ("utf-16", "", "UTF-8", "%E4%B8%AD"),
    ("iso-8859-1", "none utf-8 gbk", "UTF-8", "%E4%B8%AD"), ("utf-8", "big5", "Big5", "%A4%A4")])
def test_a_form_is_sent_in_its_encoding(charset: str, accept: str, name: str, value: str) -> None:
    html = f'<form method=post accept-charset="{accept}"><input name=user><input type=hidden name=_charset_></form>'
    submission = sent(html.encode("utf-16" if charset == "utf-16" else "ascii"), {"user": "中"},
                      content_type=f"text/html; charset={charset}")
    assert submission.body.decode() == f"user={value}&_charset_={name}"


TWO_FORMS = {
    "two passwords": "<form action=/a method=post>{named}<input type=password name=again><button>OK</button></form>",
    "a new password": "<form action=/a method=post><input name=user><input name=pass type=password "
                      "autocomplete=new-password><button>OK</button></form>",
    "the action": "<form action=/register method=post>{named}<button>OK</button></form>",
    "the button": "<form action=/a method=post>{named}<button>Sign up</button></form>",
    "the button in German": "<form action=/a method=post>{named}<button>Konto erstellen</button></form>",
    "the button in French": "<form action=/a method=post>{named}<button>S’inscrire</button></form>",
    "the button in Spanish": '<form action=/a method=post>{named}<input type=submit value="Crear cuenta"></form>',
    "the button in Portuguese": "<form action=/a method=post>{named}<button>Cadastre-se</button></form>",
    "the button in Russian": "<form action=/a method=post>{named}<button>Зарегистрироваться</button></form>",
    "the button in Chinese": "<form action=/a method=post>{named}<button>注册</button></form>",
    "the button in Japanese": "<form action=/a method=post>{named}<button>新規登録</button></form>",
    "the heading": "<form action=/a method=post><h2>New members</h2>{named}<input name=email></form>",
    "more to fill in": "<form action=/a method=post>{named}<input name=first><input name=last></form>",
    "the id": "<form id=registration action=/a method=post>{named}<button>OK</button></form>",
    "no password": "<form action=/a method=post><input name=user><input name=pass></form>",
}


@pytest.mark.parametrize("other", TWO_FORMS.values(), ids=TWO_FORMS)
def test_the_login_form_wins_over_a_registration(other: str) -> None:
    other = other.format(named=NAMED)
    login = f"<form action=/b method=post>{NAMED}<button>OK</button></form>"
    assert sent(other + login).url == sent(login + other).url == "https://site.example/b"


@pytest.mark.parametrize("button", ["Log in", "Sign in", "Login", "Anmelden", "Einloggen", "Connexion", "Iniciar sesión",
                                    "Entrar", "Accedi", "Inloggen", "Logga in", "Zaloguj się", "Giriş yap", "Войти",
                                    "ログイン", "登录", "登入", "로그인"])
def test_a_login_form_is_recognised_by_its_button(button: str) -> None:
    login = f"<form action=/b method=post>{NAMED}<button>{button}</button></form>"
    other = f"<form action=/a method=post>{NAMED}<button>OK</button></form>"
    assert sent(other + login).url == sent(login + other).url == "https://site.example/b"


@pytest.mark.parametrize("css", ["#two", "#two input", "button.in", "form[action='/two']"])
def test_css_selects_a_form_by_an_element_in_it_or_a_control_of_it(css: str) -> None:
    html = f"<form action=/one>{NAMED}</form><form id=two action=/two>{NAMED}</form><button class=in form=two>In</button>"
    assert sent(html, css=css).url.startswith("https://site.example/two?")
