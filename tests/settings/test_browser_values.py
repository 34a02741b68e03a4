"""Tests of the values of `render`, `watch.visual` and `browser`.

What is refused, and how the message says what is allowed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import SettingsError
from pipeline.settings import Settings, load

SPIDER = '[spiders.s]\nspider = "watch"\nstart = "http://site.lan/"\n'
CSS, DATES = 'write CSS such as "button.more"', 'write a CSS selector, "networkidle" or a time such as "2s"'

WRONG: dict[str, tuple[str, str, str]] = {  # the line, the key that the message names, and what it says
    "render, a text": ('render = "yes"', "render", "'yes' is not a way to render pages; write \"browser\" or a table"),
    "render, a number": ("render = 1", "render", "1 is not a way to render pages; write \"browser\" or a table"),
    "a text of Playwright": ('render.wait_for = "text=More"', "render.wait_for", f"text= is not supported here; {CSS}"),
    "an XPath with its engine": ('render.wait_for = ["xpath=//a"]', "render.wait_for[0]", f"xpath= is not supported here; {CSS}"),
    "an XPath": ('render.wait_for = "//a"', "render.wait_for", f"XPath is not supported here; {CSS}"),
    "the parent": ('render.steps = [{ click = ".." }]', "render.steps[0].click", f"XPath is not supported here; {CSS}"),
    "a text in quotes": ("render.steps = [{ click = '\"More\"' }]", "render.steps[0].click", f"a text in quotes is not supported here; {CSS}"),
    "selectors in a row": ('render.steps = [{ wait = "form >> a" }]', "render.steps[0].wait", f">> is not supported here; {CSS}"),
    "a pseudo-class of Playwright": ("render.wait_for = \"a:has-text('x')\"", "render.wait_for", ":has-text is not known to browsers; find the element by its class"),
    "a pseudo-class of rules": ("render.wait_for = \"a:contains('x')\"", "render.wait_for", ":contains is not known to browsers"),
    "a text of an element": ('render.wait_for = "h1::text"', "render.wait_for", "is no element; remove it"),
    "CSS with an error": ('render.steps = [{ fill = "a[", value = "x" }]', "render.steps[0].fill", "'a[' is not a CSS selector of elements: Expected ident"),
    "an unknown pseudo-class": ('render.wait_for = "a:frist-child"', "render.wait_for", ":frist-child is unknown"),
    "a negative time": ('render.wait_for = "-2s"', "render.wait_for", "'-2s' is not a CSS selector of elements"),
    "a time without a unit": ('render.wait_for = "2"', "render.wait_for", "'2' is not a duration"),
    "an empty condition": ('render.wait_for = ""', "render.wait_for", f"the text is empty; {DATES}"),
    "the load event": ('render.wait_for = "load"', "render.wait_for", f"the page's load event is always waited for; remove it, or {DATES}"),
    "steps, a text": ('render.steps = "click"', "render.steps", 'should be a list of tables, such as [{ click = "#more" }]'),
    "steps, a table": ('render.steps = { click = "a" }', "render.steps", 'should be a list of tables, such as [{ click = "#more" }]'),
    "a number as a value": ('render.steps = [{ fill = "a", value = 1 }]', "render.steps[0].value", 'should be text, found 1; write "1"'),
    "an unknown key": ('render.steps = [{ press = "Entr" }]', "render.steps[0].press", "'Entr' is not a key (did you mean 'Enter'?); write a character"),
    "another name of a key": ('render.steps = [{ press = "Ctrl+A" }]', "render.steps[0].press", "'Ctrl' is not a key (did you mean 'Control'?)"),
    "a window": ('render.viewport = "big"', "render.viewport", "'big' is not a size of a window; write width x height in pixels, each from 10 to 10000, such as"),
    "a window, too large": ('render.viewport = "99999x800"', "render.viewport", "each from 10 to 10000"),
    "a window, a list": ("render.viewport = [1280, 800]", "render.viewport", 'such as "1280x800"'),
    "a language, in words": ('render.locale = "german"', "render.locale", "there is no language 'german'; write a language with or without a country, such as \"de\""),
    "a language, a list": ('render.locale = "de-DE,en"', "render.locale", "it is not a language tag"),
    "an unknown country": ('render.locale = "de-QQ"', "render.locale", "there is no country 'QQ'"),
    "a city": ('render.timezone = "Berlin"', "render.timezone", "'Berlin' is not a time zone (did you mean 'Europe/Berlin'?); write a name such as"),
    "an offset": ('render.timezone = "UTC+2"', "render.timezone", "'UTC+2' is not a time zone"),
    "a zone that browsers do not know": ('render.timezone = "posix/UTC"', "render.timezone", "'posix/UTC' is not a time zone"),
    "an empty device": ('render.device = " "', "render.device", 'the text is empty; write the name of a device of Playwright, such as "iPhone 15"'),
    "visual, a text": ('watch.visual = "yes"', "watch.visual", "should be true, false or a table, found 'yes'"),
    "visual, a list": ("watch.visual = []", "watch.visual", "should be true, false or a table"),
    "a threshold, a text": ('watch.visual = { threshold = "10%" }', "watch.visual.threshold", "should be a number, found '10%'"),
    "a share in per cent": ("watch.visual = { min_change = 50 }", "watch.visual.min_change", "should be at most 1.0, found 50"),
    "a wrong selector to ignore": ('watch.visual = { ignore = ["a["] }', "watch.visual.ignore[0]", "'a[' is not a CSS selector of elements"),
}
BROWSER: dict[str, tuple[str, str]] = {
    'executable = " "': ("executable", 'the text is empty; write the path of a program, such as "/usr/bin/chromium", or remove the key'),
    'remote = "browser.lan:9222"': ("remote", "'browser.lan:9222' is not the URL of a browser"), "remote = 1": ("remote", "1 is not the URL of a browser"),
    'remote = "http://h:99999"': ("remote", "is not the URL of a browser"), 'start_timeout = "0s"': ("start_timeout", 'write a duration such as "30s"'),
}


def loaded(folder: Path, text: str) -> Settings:
    (folder / "settings.toml").write_text(text, "utf-8")
    return load(folder / "settings.toml")


@pytest.mark.parametrize(("line", "key", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_value_says_what_is_allowed(tmp_path: Path, line: str, key: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, SPIDER + line + "\n")
    text = str(caught.value)
    assert text.startswith(f"settings.toml: spiders.s.{key}: ")
    assert said in text
    assert "^" not in text  # no pattern of this program


@pytest.mark.parametrize(("line", "key", "said"), [(line, *expected) for line, expected in BROWSER.items()])
def test_a_wrong_value_of_the_browser_says_what_is_allowed(tmp_path: Path, line: str, key: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, f"[browser]\n{line}\n")
    assert str(caught.value).startswith(f"settings.toml: browser.{key}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("condition", ["a.b > c[d='e' i]:not(.f):has(g)", "#\\31 x", "dialog:modal", "input:focus-visible", "p:lang(de)", "li:nth-child(2 of .x)", "2s",
                                       "Network Idle", "my-card .price", "a[href='//x/..']", "a[title='x >']", ":is(h1, h2)", "input:user-invalid"])
def test_what_browsers_know_may_be_waited_for(tmp_path: Path, condition: str) -> None:
    render = loaded(tmp_path, f'{SPIDER}render.wait_for = "{condition}"\n'.replace("\\", "\\\\")).spiders["s"].render
    assert render is not None
    assert render.wait_for == ("networkidle" if condition == "Network Idle" else condition,)


@pytest.mark.parametrize("key", ["Enter", "Control+A", "Control++", "+", "a", "Shift+ArrowDown", "ControlOrMeta+Shift+K", "F12", "?"])
def test_keys_and_combinations_may_be_pressed(tmp_path: Path, key: str) -> None:
    render = loaded(tmp_path, f'{SPIDER}render.steps = [{{ press = "{key}" }}]\n').spiders["s"].render
    assert render is not None
    assert render.steps[0].press == key


def test_sizes_and_languages_are_read_as_people_write_them(tmp_path: Path) -> None:
    render = loaded(tmp_path, f'{SPIDER}render = {{ viewport = "800 X 600", locale = "zh_Hans_CN", device = "iPhone 15 " }}\n').spiders["s"].render
    assert render is not None
    assert (render.viewport, render.locale, render.device) == ("800x600", "zh-Hans-CN", "iPhone 15")
