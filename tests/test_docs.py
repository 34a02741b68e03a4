"""Check the examples, commands, links and paths of README, CONTRIBUTING and docs/."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.generate import pages
from pipeline.cli.main import main
from pipeline.settings import load

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("README*.md"), ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

def completed(example: str) -> str:
    """An example with what it refers to and does not show: spiders, proxies, starts."""
    text = "".join(_with_start(table) for table in re.split(r"^(?=\[)", example, flags=re.MULTILINE))
    spiders = _quoted(r"^spiders = \[(.*?)\]", text) | set(re.findall(r"^\[spiders\.([\w-]+)\.", text, re.MULTILINE))
    for name in sorted(spiders):
        if f"[spiders.{name}]" not in text:
            text += f'\n[spiders.{name}]\nstart = "https://site.example/"\n'
    for name in sorted(_quoted(r"^proxy = (.*)", text) - {"environment"}):
        if not re.search(rf"^{name} = ", text, re.MULTILINE):
            text += f'\n[proxies]\n{name} = "http://127.0.0.1:3128"\n'
    for name in set(re.findall(r"^\[+digests\.([\w-]+)\.", text, re.MULTILINE)):
        if f"[digests.{name}]" not in text:
            text += f'\n[digests.{name}]\nspiders = []\nto = ["me@example.com"]\n'
    return text


def _with_start(table: str) -> str:
    """A spider of which an example shows one matter only still needs a start."""
    head = re.match(r"\[spiders\.[\w-]+\]\n", table)
    if head is None or re.search(r"^(start|spider)\b", table, re.MULTILINE):
        return table
    return f'{head[0]}start = "https://site.example/"\n{table[head.end():]}'


def _quoted(pattern: str, text: str) -> set[str]:
    return set(re.findall(r'"([\w-]+)"', " ".join(re.findall(pattern, text, re.MULTILINE))))


def blocks(language: str) -> list[tuple[Path, str]]:
    return [(page, block) for page in PAGES
            for block in re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)]


def named(value: object) -> str:
    return value.name if isinstance(value, Path) else ""


@pytest.mark.parametrize(("page", "example"), blocks("toml"), ids=named)
def test_a_settings_example_loads(page: Path, example: str, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(completed(example), "utf-8")
    load(tmp_path / "settings.toml")


def test_every_command_named_in_the_pages_exists() -> None:
    for page in PAGES:
        text = page.read_text("utf-8")
        shell = "".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
        for line in re.findall(r"`pipeline ([^`]+)`", text) + re.findall(r"^pipeline ([^#|&\n]+)", shell, re.MULTILINE):
            words = line.split()
            command = main.commands.get(words[0])
            assert command is not None or words[0].isupper() or words[0].startswith("-"), f"{page.name}: pipeline {line}"
            options = {name for parameter in command.params for name in parameter.opts} if command else set()
            for word in words[1:]:
                if word.startswith("--") and not hasattr(command, "commands"):
                    assert word.partition("=")[0] in options, f"{page.name}: pipeline {line}"


def test_every_command_is_in_the_pages() -> None:
    page = (ROOT / "docs" / "commands.md").read_text("utf-8")
    for name in main.commands:
        assert f"`pipeline {name}" in page, name


def test_every_link_between_the_pages_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_file_of_the_code_that_a_page_names_exists() -> None:
    for page in [*PAGES, ROOT / "SECURITY.md"]:
        for path in re.findall(r"(?<!^Write )(?<!^Copy `pipeline/languages/en.toml` to )`((?:pipeline|tests|benchmarks)/[\w/.]+)`", page.read_text("utf-8"), re.MULTILINE):
            assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_the_exit_codes_of_the_page_are_those_of_the_errors() -> None:
    from pipeline import errors
    families = {entry.exit_code for entry in vars(errors).values()
                if isinstance(entry, type) and issubclass(entry, errors.PipelineError)}
    page = (ROOT / "docs" / "commands.md").read_text("utf-8").partition("## Exit codes")[2]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == families | {0}


def test_each_generated_part_is_what_make_docs_writes() -> None:
    assert [page.name for page, text in pages().items() if page.read_text("utf-8") != text] == [], "run `make docs`"


def test_the_shipped_settings_have_no_problem() -> None:
    settings = load(ROOT / "settings.toml")
    assert settings.demo is not None
