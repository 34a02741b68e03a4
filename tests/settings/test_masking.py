"""In which forms a secret of the settings is masked in text, and what must stay readable.

Also through a run's log and the SMTP dialogue.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from html import escape
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from pipeline.settings import load
from pipeline.settings.masking import Mask
from tests.servers.program import Program
from tests.servers.smtp import Fault, SmtpServer

SECRETS = {"punctuation": "p@ss/wörd & \"7\"+key", "quotes": "it's \"my\" secret", "letters": "hunter2hunter2", "only punctuation": "!@#$%^&*()", "Chinese": "密码密码-12", "PHP": "a&b/c'd\\e<f>"}


def basic(text: str, encoding: str = "utf-8") -> str:
    return "Authorization: Basic " + b64encode(f"me:{text}".encode(encoding, "replace")).decode()


FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "percent-encoded": lambda text: quote(text, safe=""),
    "percent-encoded in lower case": lambda text: "".join(each if each.isascii() and each.isalnum() else "".join(f"%{byte:02x}" for byte in each.encode()) for each in text),
    "percent-encoded twice": lambda text: quote(quote(text, safe=""), safe=""),
    "as a path": quote,
    "as in a form": quote_plus,
    "with names of characters": escape,
    "with character references": lambda text: "".join(each if each.isascii() and each.isalnum() else f"&#{ord(each)};" for each in text),
    "in JSON": lambda text: json.dumps(text)[1:-1],
    "in JSON of PHP": lambda text: json.dumps(text)[1:-1].replace("/", r"\/").replace("&", r"\u0026").replace("'", r"\u0027").replace("<", r"\u003C"),
    "in JSON in JSON": lambda text: json.dumps(json.dumps(text))[3:-3],
    "in JSON in HTML": lambda text: escape(json.dumps(text)[1:-1]),
    "in JSON in a URL": lambda text: quote(json.dumps(text)[1:-1], safe=""),
    "in repr": lambda text: repr(text)[1:-1],
    "in repr of bytes": lambda text: repr(text.encode())[2:-1],
    "as UTF-8 that was read as latin-1": lambda text: text.encode().decode("latin-1"),
    "as latin-1 that was read as UTF-8": lambda text: text.encode("latin-1").decode("utf-8", "surrogateescape") if "ö" in text else text,
    "in Basic authentication": basic,
    "in Basic authentication in latin-1": lambda text: basic(text, "latin-1") if "ö" in text else basic(text),
    "in base64 for URLs": lambda text: urlsafe_b64encode(f"{{}}{text}~~~".encode()).decode(),
    "in base64 in JSON of PHP": lambda text: b64encode(f"a{text}".encode()).decode().replace("/", r"\/"),
    "in base64 in a URL": lambda text: quote(b64encode(text.encode()).decode(), safe=""),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_masked_in_each_form(form: str) -> None:
    for kind, secret in SECRETS.items():
        written = FORMS[form](secret)
        shown = Mask((secret,))(f"é {written} 密")
        assert "****" in shown, (kind, written)
        assert len(shown.replace("****", "").replace("Authorization: Basic", "")) <= 5 + 7 + 3, (kind, shown)  # base64 may leave bits of what surrounds it


@pytest.mark.parametrize(("secrets", "text"), [
    (("abc", "密码"), "abc 密码 YWJj %E5%AF%86%E7%A0%81 MTphYmM="),  # too short to be masked
    (("1234",), "MTIzNA== bTIzNA MjM0 12 34 4321 1235"),
    (("user", "pass", "login"), "dXNlcg== cGFzcw== use bGFzcyBwYXNz compass".replace("compass", "compa ss")),
    (("abcdef",), "YWJjZGVn WWJjZGVm abcde ABCDEF"),
    (("hunter2hunter2",), "hunter2 hunter2hunter HUNTER2HUNTER2 aHVudGVyMg== "),
    (("a b c d",), "a.b.c.d abcd a  b  c  d"),
    (("p@ss/wörd",), "p@ss/word p%40ss%2Fword password p@ss/wör"),
    (("!@#$",), "! @ # $ &excl;&commat; %21%40%23")])
def test_other_text_stays(secrets: tuple[str, ...], text: str) -> None:
    assert Mask(secrets)(text) == text


def test_short_secrets_mask_no_word() -> None:
    """No word of any language can be the base64 of a secret that has fewer than 6 bytes: fewer than 8 characters would depend on it alone."""
    words = ["password", "username", "settings", "pipeline", "download", "complete", "internal", "response", "continue", "database", "Zm9vYmFy", "c2VjcmV0", "bWVzc2Fn", "aGVhZGVy"]
    mask = Mask(("foob", "secre", "messa", "hea&", "us r", "1234", "ab+c"), ())
    assert [mask(word) for word in words] == words


def test_the_password_of_a_user_is_masked_in_credentials_even_if_it_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT", "1234")
    (tmp_path / "settings.toml").write_text('[mail]\nuser = "me"\npassword = { env = "SHORT" }\nhost = "mail.example"\n')
    mask = Mask.of(load(tmp_path / "settings.toml"))
    assert mask(f"sent {basic('1234')}, {b64encode(chr(0).join(('', 'me', '1234')).encode()).decode()}") == "sent Authorization: Basic ****==, ****="
    assert mask("me:5678 bWU6NTY3OA==") == "me:5678 bWU6NTY3OA=="


def test_a_long_text_takes_linear_time() -> None:
    mask = Mask(SECRETS.values())
    for part in ("hunter2hunter", "%25", "\\", "%5C", "&#92;", "&amp;", "密", "p@ss/w%C3%B6rd+%26 &quot;7&quot;"):
        text = part * (500_000 // len(part))
        started = time.process_time()
        assert mask(text) == text
        assert time.process_time() - started < 1, part


def test_no_form_is_in_the_log_of_a_run(program: Program) -> None:
    secret = SECRETS["punctuation"]
    (program.folder / "spiders").mkdir()
    (program.folder / "spiders" / "loud.py").write_text(
        "import json, os, logging, scrapy\nclass Loud(scrapy.Spider):\n    async def start(self):\n"
        "        for form in json.loads(os.environ['FORMS']):\n            print('printed', form)\n            self.logger.error('The site answered %s', form)\n"
        "        yield {'x': 1}\n        raise ValueError(os.environ['FORMS'])\n")
    forms = [form(secret) for form in FORMS.values()]
    program.environment |= {"LOUD_SECRET": secret, "FORMS": json.dumps(forms)}
    program.write('[spiders.s]\nspider = "spiders.loud:Loud"\nheaders = { X-Key = { env = "LOUD_SECRET" } }\n')
    ended = program.run("run", "s")
    told = program.run("history", "s", "--json")
    log = (program.data / "logs" / "runs" / "1.log").read_text("utf-8")
    assert log.count("printed ****") >= len(forms) - 6, "those in base64 begin with what precedes the secret"
    for name, output in {"log": log, "run": ended.stdout + ended.stderr, "history": told.stdout}.items():
        assert (name, [form for form in forms if form in output or json.dumps(form)[1:-1] in output], output) == (name, [], output)


@pytest.mark.parametrize("form", ["in Basic authentication", "in JSON of PHP", "as in a form"])
def test_the_smtp_dialogue_shows_no_password_that_a_server_repeats(program: Program, form: str) -> None:
    secret = 'it\'s  "my"/secret & more'
    program.environment["SMTP_PASSWORD"] = secret
    with SmtpServer(users={"me": secret}, faults=[Fault("AUTH", f"535 5.7.8 wrong: {FORMS[form](secret)}")]) as server:
        program.write(f'[mail]\nhost = "127.0.0.1"\nport = {server.port}\nsecurity = "none"\nallow_plaintext_auth = true\nuser = "me"\npassword = {{ env = "SMTP_PASSWORD" }}\n')
        sent = program.run("mail", "test", "--to", "you@example.com", "--debug")
    assert "535" in sent.stderr
    assert FORMS[form](secret) not in sent.stdout + sent.stderr
    assert "my" not in sent.stderr.split("535", 1)[1].split("\n")[0]
