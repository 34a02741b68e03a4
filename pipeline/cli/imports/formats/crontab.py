"""Lines of a crontab that start Scrapy spiders.

`scrapy crawl`, and requests to scrapyd's schedule.json.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import parse_qsl, urlsplit

from pipeline.cli.imports.translation.requests import is_secret

_VARIABLE = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*(.*)")
_WHEN = re.compile(r"\s*(@\w+|(?:\S+\s+){4}\S+)\s+(.*)")
_MENTIONS = re.compile(r"\bscrapy\b|\bscrapyd|/schedule\.json\b")
_USER_INFO = re.compile(r"://[^/@\s]*@")
_RESERVED = frozenset(["project", "spider", "setting", "jobid", "priority", "_version"])
_WITH_VALUE = frozenset(["-o", "--output", "-O", "--overwrite-output", "-t", "--output-format", "-s", "--set", "--logfile", "-L", "--loglevel",
                         "--profile", "--pidfile"])


@dataclass
class CrontabCrawl:
    """One start of a spider. folder: the directory that the line changes to; "" if it changes to none. project: of scrapyd; "" if unknown.

    left_out: the parts of the line that have no counterpart, and the reason.
    """

    line: int
    schedule: str
    spider: str
    timezone: str = ""
    args: dict[str, str] = field(default_factory=dict)
    folder: str = ""
    project: str = ""
    left_out: list[tuple[str, str]] = field(default_factory=list)


def read_crontab(text: str) -> tuple[list[CrontabCrawl], list[tuple[str, str]]]:
    """Return the starts of spiders, and the lines that mention Scrapy and start none, with the reason."""
    crawls: list[CrontabCrawl] = []
    problems: list[tuple[str, str]] = []
    timezone = ""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if (variable := _VARIABLE.fullmatch(line)) and not _WHEN.fullmatch(line.partition("=")[0]):
            timezone = variable[2].strip().strip("\"'") if variable[1] == "CRON_TZ" else timezone
            continue
        match = _WHEN.fullmatch(line)
        if match is None or not _MENTIONS.search(match[2]):
            continue
        try:
            found = list(_crawls(number, " ".join(match[1].split()), _command(match[2])))
        except ValueError as error:
            problems.append((f"line {number}", f"the command cannot be read: {error}"))
            continue
        for crawl in found:
            crawl.timezone = timezone
        crawls += found
        if not found:
            problems.append((f"line {number}", "it mentions Scrapy, but neither `scrapy crawl NAME` nor schedule.json of scrapyd is in it"))
    return crawls, problems


def _command(text: str) -> str:
    r"""Return the command of a line: what is before the first %, which begins its standard input, with \% as %."""
    return re.split(r"(?<!\\)%", text, maxsplit=1)[0].replace("\\%", "%")


def _crawls(number: int, schedule: str, command: str) -> Iterator[CrontabCrawl]:
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    folder = ""
    for words in _simple_commands(list(lexer)):
        if "cd" in words and words.index("cd") + 1 < len(words):
            folder = words[words.index("cd") + 1]
        crawl = CrontabCrawl(number, schedule, "", folder=folder)
        names = [PurePosixPath(word).name for word in words]
        if "scrapy" in names and "crawl" in words[names.index("scrapy"):]:
            _read_scrapy(words[words.index("crawl", names.index("scrapy")) + 1:], crawl)
        elif "curl" in names and any(urlsplit(word).path.endswith("/schedule.json") for word in words):
            _read_curl(words, crawl)
        elif "scrapyd-client" in names and "schedule" in words:
            _read_client(words[words.index("schedule") + 1:], crawl)
        if crawl.spider:
            yield crawl


def _simple_commands(words: list[str]) -> Iterator[list[str]]:
    """Yield the commands between &&, ||, | and ;. Redirections and what they name are left out."""
    command: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif set(word) <= set("&|;()") or word == "":
            yield command
            command = []
        elif set(word) <= set("<>&"):
            skip = True
            if command and command[-1].isdigit():
                command.pop()
        else:
            command.append(word)
    yield command


def _read_scrapy(words: list[str], crawl: CrontabCrawl) -> None:
    place = 0
    while place < len(words):
        word = words[place]
        option, equals, value = word.partition("=") if word.startswith("--") else (word[:2], word[2:], word[2:]) if word.startswith("-") else ("", "", "")
        place += 1
        if not option:
            crawl.spider = crawl.spider or word
            continue
        if option != "-a" and option not in _WITH_VALUE:
            continue
        if not equals and place < len(words):
            value = words[place]
            place += 1
        _option(option, value, crawl)


def _option(option: str, value: str, crawl: CrontabCrawl) -> None:
    name, _, rest = value.partition("=")
    value = _USER_INFO.sub("://", f"{name}=…" if is_secret(name) else value)
    if option == "-a":
        crawl.args[name] = rest
    elif option in ("-s", "--set"):
        crawl.left_out.append((f"{option} {value}", "set it in the settings of the project, or in `custom_settings` of the spider"))
    elif option in ("-o", "--output", "-O", "--overwrite-output"):
        crawl.left_out.append((f"{option} {value}", "use FEEDS in the settings of the project, `pipeline items NAME --output FILE`, or `attach` of a digest"))
    else:
        crawl.left_out.append((f"{option} {value}", "the log of each run is in data_dir/logs"))


def _read_curl(words: list[str], crawl: CrontabCrawl) -> None:
    for place, word in enumerate(words):
        data = ""
        if word in ("-d", "--data", "--data-urlencode", "--data-raw", "--data-binary", "-F", "--form") and place + 1 < len(words):
            data = words[place + 1]
        elif word.startswith("-d") and len(word) > 2:
            data = word[2:]
        elif word.startswith("--data="):
            data = word.partition("=")[2]
        elif "/schedule.json?" in word:
            data = urlsplit(word).query
        if data.startswith("@"):
            crawl.left_out.append((data, "the file with the parameters is not read"))
        else:
            _parameters(parse_qsl(data, keep_blank_values=True), crawl)


def _parameters(pairs: list[tuple[str, str]], crawl: CrontabCrawl) -> None:
    for name, value in pairs:
        if name == "spider":
            crawl.spider = value
        elif name == "project":
            crawl.project = value
        elif name == "setting":
            _option("-s", value, crawl)
        elif name in _RESERVED:
            crawl.left_out.append((f"{name}={value}", "it belongs to scrapyd, and has no counterpart"))
        else:
            crawl.args[name] = value


def _read_client(words: list[str], crawl: CrontabCrawl) -> None:
    plain: list[str] = []
    pairs = iter(words)
    for word in pairs:
        if word in ("-p", "--project"):
            crawl.project = next(pairs, "")
        elif word == "--arg":
            name, _, value = next(pairs, "").partition("=")
            _parameters([(name, value)], crawl)
        elif word in ("-t", "--target", "--username", "--password"):
            next(pairs, "")
        elif not word.startswith("-"):
            plain.append(word)
    crawl.project = crawl.project or (plain[0] if len(plain) > 1 else "")
    crawl.spider = plain[-1] if plain else ""
