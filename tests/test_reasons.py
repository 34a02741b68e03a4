"""Tests that what the program stores in English is recognized and translated.

No sentence of the code is forgotten.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator

import pytest

from pipeline.errors import FetchError, LoginError, ProxyError
from pipeline.languages import LANGUAGES, reasons
from pipeline.languages.load import FOLDER, LanguageFile
from pipeline.session.responses.errors import cut_short

PIPELINE = FOLDER.parent
OTHERS = sorted(set(LANGUAGES) - {"en"})
RUNTIME = ("ai", "session", "crawl", "download", "workers", "store/runs")
"""The packages whose errors end in the row of a run or of a file."""
NOT_IN_MAILS = (
    r"too large to be shown", r"^select less of the page$",
    r"unreachable", r"is not a URL that can be fetched", r"no host name", r"^7$", r"no proxy named", r"known: ", r"not a proxy URL", r"http://host:port", r"TOML has no value",
    r"of a Response or Request", r"a follower process must not", r"the `(json|body)` setting", r"^the browser's request", r"remove the number", r"`encoding` setting", r"the file became shorter", r"socket of the fork server",
    r"TMPDIR", r"is not a method of the spider", r"cannot be stored as JSON", r"^stopped$",
    r"procrastinate", r"to a PostgreSQL URL", r"crawl-to-inbox\[cluster\]",
)
"""Errors of settings and of the program itself."""
COMPOSED = (
    r"the login had expired", r"right after a new login", r"of the `auth` setting", r"^7 7; fields found", r"which has \{", r"^7?7?7: ?7$", r"; or delete the line", r"^77$", r"^7through$",
    r"^7; ", r"\{through\}", r"^7: the", r"^7Connection", r"^7 77$", r"rstrip", r"ended unexpectedly with 7", r"^7 7 s$",
)
"""Sentences whose middle is a sentence, too; the table of examples has them."""

OF_OPENSSL = frozenset(f"certificate_{name}" for name in ("expired", "early", "self", "self_chain", "issuer", "host", "address"))
IN_PARTS = frozenset((
    "login_form_none", "auth_password_realm", "auth_token_realm", "run_signal", "run_code", "rule_nothing_items", "rule_nothing_pages", "page_scripts",
    "reject_date_format", "reject_inexact", "file_too_large", "mend_other_page", "mend_other_pages", "digest_deaths", "fixes.login_fields_frame", "fixes.add_host",
    "fixes.add_hosts", "fixes.class_other"))
"""Sentences that the code composes of parts without a placeholder between them."""
_VARIES = (r"\{\w+\}|\(s\)|\([\w ]+(?:\|[\w ]+)+\)|\b(?:page|item|file|link|form|feed|sitemap|process)s?\b|\b(?:the server|the proxy)\b|user name or password|token|"
           r"HTTP \d+ from|answered \d+|the (?:only|all)|,? so the login|login.expired.\w+|right after")

EXAMPLES = [
    (str(FetchError("the host name cannot be resolved", where="http://a.test/", fix="check the URL and the network")),
     "http://a.test/：无法解析主机名；请检查网址和网络", "http://a.test/: der Hostname kann nicht aufgelöst werden; prüfen Sie die URL und das Netz"),
    (str(ProxyError("the proxy is down: Connection refused; the request was not sent without the proxy", where="http://127.0.0.1:1")),
     "http://127.0.0.1:1：代理不可用：连接被拒绝；请求没有绕过代理发送",
     "http://127.0.0.1:1: der Proxy ist nicht erreichbar: Verbindung abgelehnt; die Anfrage wurde nicht ohne Proxy gesendet"),
    (str(LoginError("the user name or password was not accepted: “Nein; falsch”", where="spiders.s.login (http://a.test/login)",
                    fix="correct login.fields; the page is saved in logs/s.html")),
     "spiders.s.login (http://a.test/login)：用户名或密码未被接受：“Nein; falsch”；请改正 login.fields；页面已保存在 logs/s.html",
     ("spiders.s.login (http://a.test/login): der Benutzername oder das Passwort wurde nicht angenommen: „Nein; falsch“; korrigieren Sie login.fields; "
      "die Seite ist unter logs/s.html gespeichert")),
    ("http://a.test/f.zip: " + cut_short(51_200, 102_400), "http://a.test/f.zip：响应正文不完整：只收到 51,200 字节，共 102,400 字节",
     "http://a.test/f.zip: der Inhalt ist unvollständig: 51.200 von 102.400 Bytes sind eingetroffen"),
    ("HTTP 404 from http://a.test/1", "http://a.test/1 返回 404（页面不存在）", "http://a.test/1 antwortet mit 404 (Seite nicht gefunden)"),
    ("http://a.test/f.zip: the server answered 503 Service Unavailable", "http://a.test/f.zip：服务器返回 503（服务暂不可用）",
     "http://a.test/f.zip: der Server hat mit 503 geantwortet (Dienst nicht verfügbar)"),
    ("http://a.test/f.zip: the server answered 418 I'm a teapot", "http://a.test/f.zip：服务器返回 418 I'm a teapot",
     "http://a.test/f.zip: der Server hat mit 418 I'm a teapot geantwortet"),
    (("http://p.test: robots.txt cannot be read, so this run fetches nothing from the host: the proxy is down: Connection refused; the request was not sent without "
      "the proxy; start the proxy, or change this spider's `proxy` setting"),
     "http://p.test：无法读取 robots.txt，因此本次运行不抓取该主机：代理不可用：连接被拒绝；请求没有绕过代理发送；请启动代理，或修改该爬虫的 `proxy` 设置",
     ("http://p.test: robots.txt kann nicht gelesen werden, deshalb ruft dieser Lauf nichts von diesem Host ab: der Proxy ist nicht erreichbar: Verbindung abgelehnt; "
      "die Anfrage wurde nicht ohne Proxy gesendet; starten Sie den Proxy, oder ändern Sie die Einstellung `proxy` dieses Spiders")),
    ("http://a.test/: the connection broke: something new; check the URL and the network", "http://a.test/：连接中断：原文：“something new”；请检查网址和网络",
     "http://a.test/: die Verbindung ist abgebrochen: im Original: „something new“; prüfen Sie die URL und das Netz"),
    ("HTTP 418 from http://a.test/1", "http://a.test/1 返回 HTTP 状态 418", "http://a.test/1 antwortet mit HTTP-Status 418"),
    ("http://a.test/1 redirected to the login page right after a new login", "刚重新登录，http://a.test/1 仍转到登录页",
     "http://a.test/1 hat unmittelbar nach einer neuen Anmeldung auf die Anmeldeseite weitergeleitet"),
    ("no items were found, although the spider had 12 items before: `items.each` matched nothing on 1 page; 1 page skipped; the first: http://a.test/2 timed out",
     "没有找到条目，而之前有 12 个：`items.each` 在 1 个页面上没有匹配；跳过 1 个页面；第一个：http://a.test/2 超时",
     ("es wurden keine Einträge gefunden, obwohl der Spider zuvor 12 hatte: `items.each` hat auf 1 Seite nichts gefunden; 1 Seite übersprungen; die erste: "
      "http://a.test/2 Zeitüberschreitung")),
    ("only 12% of the items have the field 'price'; the `coverage` setting requires 90%", "只有 12% 的条目有字段 'price'；`coverage` 要求 90%",
     "nur 12\N{NO-BREAK SPACE}% der Einträge haben das Feld 'price'; die Einstellung `coverage` verlangt 90\N{NO-BREAK SPACE}%"),
    ("price: 'n/a' is not a number; title: the field is required, but was not found", "price：'n/a' 不是数字；title：必填字段，但没有找到",
     "price: 'n/a' ist keine Zahl; title: das Feld ist Pflicht, wurde aber nicht gefunden"),
    ("the run used 1200 MB of memory; memory_limit is 1000 MB", "运行占用了 1200 MB 内存；memory_limit 为 1000 MB",
     "der Lauf hat 1200 MB Speicher belegt; memory_limit ist 1000 MB"),
    ("the process of the run ended unexpectedly with signal 9; see 7.log in data_dir/logs/runs", "运行的进程意外结束，信号 9；请查看 data_dir/logs/runs 中的 7.log",
     "der Prozess des Laufs endete unerwartet mit Signal 9; siehe 7.log in data_dir/logs/runs"),
    ("the process of the run could not store its result in the database; see 7.log in data_dir/logs/runs", "运行的进程无法将结果存入数据库；请查看 data_dir/logs/runs 中的 7.log",
     "der Prozess des Laufs konnte sein Ergebnis nicht in der Datenbank speichern; siehe 7.log in data_dir/logs/runs"),
    ("the file has 3.1 MB; at most 1.0 MB are allowed; increase downloads.max_size", "文件大小为 3.1 MB；最多允许 1.0 MB；请增大 downloads.max_size",
     "die Datei hat 3,1 MB; höchstens 1,0 MB sind erlaubt; erhöhen Sie downloads.max_size"),
    ("5 pages refused: 403 from a.test", "5 个页面被拒绝：a.test 返回 403", "5 Seiten verweigert: 403 von a.test"),
    ("the form on the login page has no field pasword (did you mean password?); fields found: user, password; correct login.fields or login.url",
     "登录页的表单没有字段 pasword (did you mean password?)；找到的字段：user, password；请改正 login.fields 或 login.url",
     "das Formular der Anmeldeseite hat kein Feld pasword (did you mean password?); gefundene Felder: user, password; korrigieren Sie login.fields oder login.url"),
    ("spiders/shop.py, line 12: KeyError: 'price'", "原文：“spiders/shop.py, line 12: KeyError: 'price'”", "im Original: „spiders/shop.py, line 12: KeyError: 'price'“"),
    ("Eigener Fehler; 2 pages skipped; the first: http://a.test/2 noch einer", "原文：“Eigener Fehler”；跳过 2 个页面；第一个：原文：“http://a.test/2 noch einer”",
     "im Original: „Eigener Fehler“; 2 Seiten übersprungen; die erste: im Original: „http://a.test/2 noch einer“"),
    ("s3://files/a.pdf: the object store cannot be used: SlowDown: Slow down.; check [pipeline] storage and [pipeline.s3]",
     "s3://files/a.pdf：无法使用对象存储：原文：“SlowDown: Slow down.”；请检查 [pipeline] storage 和 [pipeline.s3]",
     "s3://files/a.pdf: der Objektspeicher ist nicht nutzbar: im Original: „SlowDown: Slow down.“; prüfen Sie [pipeline] storage und [pipeline.s3]"),
    ("", "", ""),
]


@pytest.mark.parametrize(("stored", "chinese", "german"), EXAMPLES)
def test_a_stored_reason_is_read_in_the_language_of_the_mail(stored: str, chinese: str, german: str) -> None:
    assert reasons("zh").translate(stored) == chinese
    assert reasons("de").translate(stored) == german
    assert reasons("en").translate(stored) == stored


def test_the_advice_in_a_reason_is_told_from_the_reason() -> None:
    for language in LANGUAGES:
        parts = reasons(language).parts(EXAMPLES[0][0])
        assert [part.is_fix for part in parts] == [False, True]


def test_a_long_text_without_meaning_remains_as_it_is() -> None:
    for text in ("; ".join(["x: y"] * 500), "a: " * 1300, "“" * 4000, "1 page skipped; the first: " * 150):
        assert reasons("zh").translate(text)


@pytest.mark.parametrize("language", OTHERS)
def test_every_text_of_a_language_can_be_filled_in(language: str) -> None:
    """Each pattern as a stored text, with an example for each placeholder: the sentence is recognized, and nothing fails."""
    given = {"n": "1,234", "total": "12.5", "count": "1", "status": "418", "share": "12%", "max_share": "90 %", "size": "3.1 MB", "max_size": "7 B", "name": "'a b'",
             "url": "http://a.test/{x}", "host": "a.test:80", "said": "a; b {y}", "reason": "timed out", "text": "{z} words", "pairs": "a 1 of 2"}
    for key, pattern in patterns().items():
        stored = re.sub(r"\{(\w+)\}", lambda name: given[name[1]], re.sub(r"\((\w+)\|[^)]*\)", r"\1", pattern).replace("(s)", "s"))
        assert all(part.is_known for part in reasons(language).parts(stored)), key
        assert reasons("en").translate(stored) == stored
    for hostile in ("9" * 1999, "1.2.3 MB", f"the page is larger than {'9' * 400} MB", f"the body was cut short after {'1,' * 900} bytes", "{0} {n} %s; {", "“”" * 900):
        assert reasons(language).translate(hostile)


def patterns() -> dict[str, str]:
    english = LanguageFile("en", FOLDER)
    found = english.any_table("reasons") | {f"fixes.{key}": text for key, text in english.any_table("fixes").items()}
    return {key: text.replace("{{", "{").replace("}}", "}") for key, text in found.items()}


def sentences(node: ast.expr) -> list[str]:
    """The texts that an expression may give, with an example in each placeholder."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=values):
            found = [""]
            for value in values:
                found = [begun + more for begun in found for more in (examples(value) if isinstance(value, ast.FormattedValue) else sentences(value))]
            return found
        case ast.BinOp(left=left, right=right):
            return [one + two for one in sentences(left) for two in sentences(right)]
        case ast.IfExp(body=body, orelse=orelse):
            return sentences(body) + sentences(orelse)
        case ast.BoolOp(values=values):
            return [text for value in values for text in sentences(value)]
    return []


def examples(value: ast.FormattedValue) -> list[str]:
    text = ast.unparse(value.value)
    form = ast.unparse(value.format_spec) if value.format_spec is not None else ""
    if isinstance(value.value, ast.IfExp):
        return sentences(value.value)
    if isinstance(value.value, ast.Call) and text.startswith("counted(") and isinstance(value.value.args[1], ast.Constant):
        return [f"7 {value.value.args[1].value}s"]
    known = {"size_for_people": "3.1 MB", "url": "http://a.test/1", "where": "http://a.test/1", "status": "503", "strerror": "Permission denied"}
    return [next((example for name, example in known.items() if name in text), "12%" if "%" in form else
                 "Connection refused" if text in ("reason", "error", "failure.what") else "through" if text == "through" else "7")]


def raised() -> Iterator[tuple[str, str]]:
    """Every sentence of an error, a refused login or an ending in the code, with its place."""
    for folder in RUNTIME:
        for path in sorted((PIPELINE / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                name = ast.unparse(node.func)
                is_error = name[0].isupper() and name.endswith("Error")
                given = node.args[:1] if is_error else node.args[1:2] if name == "Ending" else [*node.args[:1], *node.args[2:3]] if name == "Refusal" else []
                if is_error:
                    given = [*given, *(word.value for word in node.keywords if word.arg == "fix")]
                yield from ((f"{path.relative_to(PIPELINE)}:{node.lineno}", text) for expression in given for text in sentences(expression) if text)


def test_every_sentence_of_an_error_is_in_the_files_of_the_languages() -> None:
    """A new or a changed sentence needs its line in en.toml, and its text in each other language."""
    english = reasons("en")
    missing = [f"{place}: {text}" for place, text in raised() if not all(part.is_known for part in english.parts(text))
               and not any(re.search(known, text) for known in (*NOT_IN_MAILS, *COMPOSED))]
    assert missing == []


def test_every_pattern_is_a_sentence_of_the_code() -> None:
    """A sentence that the code no longer says has no pattern. The longest part without a placeholder and without a plural stands for its sentence."""
    code = "\0".join(re.sub(r'"\s+f?"', "", path.read_text("utf-8")).replace('\\"', '"') for path in PIPELINE.rglob("*.py"))
    of_libraries = {os.strerror(number) for number in range(1, 134)} | {"timed out"}
    longest = {key: max(re.split(_VARIES, text), key=len).strip(" .,:;") for key, text in patterns().items() if text not in of_libraries and key not in OF_OPENSSL | IN_PARTS}
    assert {key: words for key, words in longest.items() if words not in code} == {}


@pytest.mark.parametrize("language", OTHERS)
def test_no_text_of_a_language_is_left_in_english(language: str) -> None:
    other, english = (LanguageFile(name, FOLDER) for name in (language, "en"))
    same = {key for table in ("reasons", "fixes") for key, text in other.any_table(table).items()
            if text == english.any_table(table)[key] and re.search("[a-z]{4} [a-z]", re.sub("{[^}]*}", "", text))}
    assert same == set()
