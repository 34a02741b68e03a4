"""Follow each recipe of CONTRIBUTING.md in a copy of the repository; no other file is touched."""

from __future__ import annotations

import json
import mailbox
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from email import policy
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import pytest

from tests.servers import ports
from tests.servers.pages import PageSite
from tests.servers.program import Program

ROOT = Path(__file__).parent.parent
RECIPES = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("\n## Recipes\n")[2]
REGISTRY = "pipeline/registry.py"
VERSION = "0.0.of-the-copy"

TITLES = re.findall(r"^### (.+)$", RECIPES, re.MULTILINE)[:-1]
"""The last has no steps: it says which recipe to follow."""

pytestmark = pytest.mark.needs("git")


@dataclass(frozen=True)
class Recipe:
    """What the section says to do. new: files by path. copied: (path, path of the copy). registered: (name, path, lines to add to it). diffs: unified, without @@."""

    new: dict[str, str]
    copied: list[tuple[str, str]]
    registered: list[tuple[str, str, str]]
    diffs: list[str]
    settings: str
    commands: list[str]

    @classmethod
    def titled(cls, title: str) -> Recipe:
        section = RECIPES.partition(f"\n### {title}\n")[2].partition("\n### ")[0]

        def found(pattern: str) -> list[Any]:
            return re.findall(pattern, section, re.MULTILINE | re.DOTALL)

        settings, = found(r"^```toml recipe\n(.*?)^```$")
        commands, = found(r"^```sh\n(.*?)^```$")
        return cls(dict(found(r"^Write `([^`]+)`:\n\n```python\n(.*?)^```$")), found(r"^Copy `([^`]+)` to `([^`]+)`"),
                   found(r"^Add to `(\w+)` in `([^`]+)`:\n\n```python\n(.*?)^```$"),
                   found(r"^```diff\n(.*?)^```$"), settings, commands.splitlines())

    def edits(self) -> Iterator[tuple[str, str, str]]:
        """(path, text before, text after) of each place in the diffs; @@ is between two places of a file."""
        for diff in self.diffs:
            for path, body in re.findall(r"^--- a/.*\n\+\+\+ b/(.*)\n((?:(?!--- )[ @+-].*\n)+)", diff, re.MULTILINE):
                for place in body.split("@@\n"):
                    lines = place.splitlines(keepends=True)
                    yield (path, "".join(line[1:] for line in lines if line[0] in " -"),
                           "".join(line[1:] for line in lines if line[0] in " +"))

    @property
    def files(self) -> set[str]:
        """Every file that it says to write or to change."""
        return {*self.new, *(path for _, path in self.copied), *(path for _, path, _ in self.registered), *(path for path, _, _ in self.edits())}


class Copy:
    """A copy of the repository in which every recipe is followed, one after the other, and then `make docs`.

    changed: of each recipe, the files that differ after it from before. documented: those that `make docs` changes in the end.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                                capture_output=True, check=True).stdout.decode()
        compiled = (str(path.relative_to(ROOT)) for part in ("pipeline", "spiders") for path in (ROOT / part).rglob("*.pyc"))
        for name in (*filter(None, listed.split("\0")), *compiled):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        self.changed: dict[str, set[str]] = {}
        before = self._contents()
        for title in TITLES:
            self._follow(Recipe.titled(title))
            before, self.changed[title] = self._compare(before)
        self._python("docs/generate.py")
        _, self.documented = self._compare(before)
        (folder / "pipeline" / "__init__.py").write_text(f'__version__ = "{VERSION}"\n')

    def check(self) -> None:
        """ruff, as `make check` runs it, on what was changed."""
        self._python("-m", "ruff", "check", "--no-cache", *(path for path in set().union(*self.changed.values()) if path.endswith(".py")))

    def docs(self, name: str) -> str:
        return (self.folder / "docs" / name).read_text("utf-8")

    def _follow(self, recipe: Recipe) -> None:
        for path, text in recipe.new.items():
            assert not (self.folder / path).exists(), path
            (self.folder / path).write_text(text, "utf-8")
        for source, path in recipe.copied:
            shutil.copy(self.folder / source, self.folder / path)
        for name, path, lines in recipe.registered:
            self._edit(path, rf"^{name}\b.*? = \{{\n.*?(?=^\}})", lambda table, lines=lines: table[0] + lines)
        for path, before, after in recipe.edits():
            self._edit(path, re.escape(before), lambda _, after=after: after)

    def _edit(self, path: str, pattern: str, replace: Callable[[re.Match[str]], str]) -> None:
        text, count = re.subn(pattern, replace, (self.folder / path).read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        assert count == 1, f"{path}: {count} places to change, where the recipe means one"
        (self.folder / path).write_text(text, "utf-8")

    def _python(self, *arguments: str) -> None:
        found = subprocess.run([sys.executable, *arguments], cwd=self.folder, env=os.environ | {"PYTHONPATH": str(self.folder)},
                               capture_output=True, text=True, timeout=120, check=False)
        assert found.returncode == 0, found.stdout + found.stderr

    def _contents(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in self.folder.rglob("*")
                if path.is_file() and "__pycache__" not in path.parts}

    def _compare(self, before: dict[str, bytes]) -> tuple[dict[str, bytes], set[str]]:
        """What the copy has now, and the files that differ from before."""
        now = self._contents()
        return now, {path for path in {*now, *before} if now.get(path) != before.get(path)}


class Follower(Program):
    """Somebody who follows a recipe. `pipeline` is that of the repository as it is until the recipe is followed, then that of the copy."""

    def __init__(self, copy: Copy, folder: Path) -> None:
        super().__init__(folder, ports.free_port())
        self.copy = copy

    def follow(self) -> None:
        self.root = self.copy.folder

    def done(self, line: str) -> str:
        """A command line of a recipe, which succeeds; what it printed."""
        program, *arguments = shlex.split(line)
        assert program == "pipeline", line
        found = self.run(*arguments)
        assert found.returncode == 0, found.stdout + found.stderr
        return found.stdout

    def refused(self) -> str:
        """What `pipeline check` says of the settings, which are wrong."""
        found = self.run("check")
        assert found.returncode == 2, found.stdout + found.stderr
        return found.stderr


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    return Copy(tmp_path_factory.mktemp("copy") / "repository")


@pytest.fixture
def user(copy: Copy, tmp_path: Path) -> Iterator[Follower]:
    user = Follower(copy, tmp_path)
    yield user
    user.close()


@pytest.fixture
def shop() -> Iterator[PageSite]:
    with PageSite({"/": "<ul><li><a href=/a>One</a></li><li><a href=/b>T|wo *</a></li></ul>"}) as site:
        yield site


def at(site: PageSite, text: str) -> str:
    return text.replace("https://shop.example", site.url)


def test_every_recipe_is_followed_here() -> None:
    assert TITLES == ["A built-in spider", "A mail transport", "An attachment format", "A heartbeat command", "An import format",
                      "A settings key", "A language"]
    assert "```" not in RECIPES.partition("### A notification channel")[2]


def test_no_recipe_changes_another_file_and_the_code_passes_ruff(copy: Copy) -> None:
    assert copy.changed == {title: Recipe.titled(title).files for title in TITLES} == {
        "A built-in spider": {"spiders/links.py", REGISTRY},
        "A mail transport": {"pipeline/mail/transports/mbox.py", REGISTRY},
        "An attachment format": {"pipeline/mail/formats/markdown_format.py", REGISTRY},
        "A heartbeat command": {"pipeline/heartbeat/protocols/commands/failing.py", REGISTRY},
        "An import format": {"pipeline/cli/imports/formats/url_list.py", REGISTRY},
        "A settings key": {"pipeline/settings/models/mail.py", "pipeline/mail/test_message.py"},
        "A language": {"pipeline/languages/ar.toml"}}
    assert copy.documented == {f"docs/{name}.md" for name in ("digests", "heartbeat", "import", "settings-reference", "spiders")}
    copy.check()


def test_the_code_of_the_copy_is_what_runs(user: Follower) -> None:
    user.follow()
    assert VERSION in user.done("pipeline --version")


def test_the_built_in_spider_can_be_tried_and_run(user: Follower, shop: PageSite) -> None:
    recipe = Recipe.titled("A built-in spider")
    user.write(at(shop, recipe.settings))
    assert "there is no built-in spider 'links'" in user.refused()
    user.follow()
    tried, ran, items = (user.done(at(shop, line)) for line in recipe.commands)
    assert "items: 2" in tried
    assert "2 items, 2 new" in ran
    assert [json.loads(line) for line in items.splitlines()] == [
        {"url": f"{shop.url}/a", "text": "One"}, {"url": f"{shop.url}/b", "text": "T|wo *"}]
    assert '| `"links"` | lists the links of pages |' in user.copy.docs("spiders.md")


SPIDER = '\n[spiders.s]\nstart = "http://site.lan/"\ndownload = ["a.pdf"]\n'
"""A spider for recipes whose settings have none, since `pipeline check` refuses settings with nothing to do."""


def test_the_mail_transport_gets_a_message_once(user: Follower) -> None:
    recipe = Recipe.titled("A mail transport")
    user.write(recipe.settings + SPIDER)
    assert "mail.mbox: unknown key" in user.refused()
    user.follow()
    checked, sent = map(user.done, recipe.commands)
    assert "no problems" in checked
    assert sent == "delivered to me@example.com, in sent.mbox\n"
    with closing(mailbox.mbox(user.data / "sent.mbox")) as box:
        assert [message["To"] for message in box] == ["me@example.com"]
    assert "## `[mail.mbox]`" in user.copy.docs("settings-reference.md")


def test_the_attachment_format_is_exported_and_attached(user: Follower, shop: PageSite) -> None:
    recipe = Recipe.titled("An attachment format")
    user.write(at(shop, recipe.settings))
    assert "digests.changes.attach" in user.refused()
    user.follow()
    _, exported, previewed = (user.done(at(shop, line)) for line in recipe.commands)
    assert exported.splitlines()[-1].endswith(r"| T\|wo \* |")
    eml, = (line for line in previewed.splitlines() if line.endswith(".eml"))
    message = BytesParser(policy=policy.default).parsebytes((user.folder / eml).read_bytes())
    assert [Path(part.get_filename()).suffix for part in message.iter_attachments()] == [".md"]
    assert "| `md` | one table" in user.copy.docs("digests.md")


def test_the_heartbeat_command_is_answered(user: Follower, shop: PageSite) -> None:
    recipe = Recipe.titled("A heartbeat command")
    user.write(at(shop, recipe.settings))
    run, serve, ping = recipe.commands
    assert serve == "pipeline serve &"
    user.serve()
    assert user.done(ping).endswith("] failing\n"), "an echo, since there is no such command yet"
    user.kill()
    user.follow()
    assert user.run(*shlex.split(run)[1:]).returncode == 5, "its page is missing"
    user.serve()
    assert user.done(ping) == "shop\n"
    assert "| `failing` | the spiders whose last run failed |" in user.copy.docs("heartbeat.md")


def test_the_import_format_is_read_and_its_spider_runs(user: Follower, shop: PageSite) -> None:
    recipe = Recipe.titled("An import format")
    user.write(recipe.settings)
    user.follow()
    (user.folder / "urls.txt").write_text(f"{shop.url}/ Terms\n\nftp://old.example/ Old\n", "utf-8")
    imported, checked, ran = map(user.done, recipe.commands)
    assert "created settings.d/list.toml: 1 spider, 1 job not carried over" in imported
    assert "line 3: not carried over: its URL begins with ftp:" in imported
    assert "1 spider, 1 digest: no problems" in checked
    assert "1 new" in ran
    assert "| `list` | a text file with a URL and a title in each line |" in user.copy.docs("import.md")


def test_the_settings_key_is_checked_and_used(user: Follower) -> None:
    recipe = Recipe.titled("A settings key")
    user.write(recipe.settings + SPIDER)
    assert "mail.test_subject: unknown key" in user.refused()
    user.follow()
    for line in recipe.commands:
        user.done(line)
    message, = mailbox.Maildir(user.data / "mail")
    assert message["Subject"] == "Can you read this?"
    user.write('[mail]\ntest_subject = ""\n')
    assert "mail.test_subject" in user.refused()
    assert '| `test_subject` | text | `"Test message of the pipeline"` | Subject of the message' in user.copy.docs("settings-reference.md")


def test_the_language_is_written_from_right_to_left_in_digests_and_alerts(user: Follower) -> None:
    recipe = Recipe.titled("A language")
    user.write(recipe.settings)
    user.follow()
    check, serve, preview = recipe.commands
    assert "no problems" in user.done(check)
    assert user.run(*shlex.split(serve)[1:]).returncode == 1, "a run failed"
    alert, = mailbox.Maildir(user.data / "mail", factory=lambda file: BytesParser(policy=policy.default).parse(file))
    assert alert["Subject"] == "[alert] shop: فشل التشغيل: تعذّر الاتصال بـ 127.0.0.1:9: Connection refused"
    user.done(preview)
    for html in (alert.get_body(("html",)).get_content(), (user.folder / "out" / "changes.html").read_text("utf-8")):
        assert '<html lang="ar" dir="rtl">' in html
        assert "تعذّر الاتصال بـ 127.0.0.1:9" in html
        assert "text-align: right" in html
        assert "border-right: 4px" in html
        assert "border-left: 4px" not in html
    assert "ما العمل" in alert.get_body(("plain",)).get_content()
    (user.copy.folder / "pipeline" / "languages" / "ar.toml").write_text(
        (user.copy.folder / "pipeline" / "languages" / "ar.toml").read_text("utf-8").replace('\nmore = "', '\nno_more = "', 1), "utf-8")
    assert "digests.changes.language: ar.toml: digest.more is missing; translate the text of en.toml" in user.refused()
