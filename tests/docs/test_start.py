"""Follow docs/start.md word by word, with the issue list of a real tracker (Roundup) as the site."""

from __future__ import annotations

import email
import email.policy
import mailbox
import re
import shlex
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli.main import main
from pipeline.settings import load
from tests.servers.pages import PageSite
from tests.servers.roundup_tracker import roundup_tracker
from tests.servers.wsgi import start_wsgi

PAGE = (Path(__file__).parents[2] / "docs" / "start.md").read_text("utf-8")
ISSUES = ["Cannot connect after upgrade", "Battery drains overnight", "Wrong time zone in reports", "Crash on empty input",
          "Search ignores umlauts", "Export loses line breaks", "Login page has no label"]
NEEDS_A_TERMINAL = ("make run", "pipeline mail test --to me@example.com", "pipeline serve", "pipeline status",
                    "pipeline shell books https://books.example/")
"""Lines of the guide that other tests follow: tests/test_shipping.py, tests/mail, tests/service, tests/cli."""
FIRST_STEPS = PAGE.partition("## If a proposal")[0]


@pytest.fixture
def tracker(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "site").mkdir()
    application, _ = roundup_tracker(tmp_path / "site", ISSUES)
    with start_wsgi(application) as url:
        yield f"{url}/issue?@columns=id,activity,title,creator,status&@sort=activity&@pagesize=50"


def blocks(text: str) -> list[tuple[str, str]]:
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def mails(data_dir: Path) -> list[EmailMessage]:
    found = [email.message_from_bytes(bytes(one), policy=email.policy.default) for one in mailbox.Maildir(data_dir / "mail")]
    assert all(isinstance(one, EmailMessage) for one in found)
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning",
                            "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_first_guide_leads_to_a_digest(tracker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said: dict[str, str] = {}
    for language, block in blocks(FIRST_STEPS):
        if language == "toml" and not block.startswith("[mail]"):
            with Path("settings.toml").open("a") as file:
                file.write("\n" + block)
        for line in re.sub(r" +#.*", "", block).splitlines() if language == "sh" else ():
            if line in NEEDS_A_TERMINAL:
                continue
            for command in line.split(" && "):
                name, *arguments = shlex.split(command.replace("https://books.example/", f"'{tracker}'"))
                if name == "cd":
                    monkeypatch.chdir(tmp_path / arguments[0])
                    continue
                assert name == "pipeline", command
                done = CliRunner().invoke(main, arguments)
                assert done.exit_code == 0, f"{command}: {done.output}"
                said[command] = done.output
    assert "7 items" in said["pipeline suggest https://books.example/"]
    assert all(title in said["pipeline items books --format csv"] for title in ISSUES)
    mail, = mails(load("settings.toml").data_dir)
    text = mail.get_body(("plain",)).get_content()
    assert all(title in text for title in ISSUES)
    assert mail["To"] == "me@example.com"
    assert list(Path("out").glob("*.html"))


def test_the_table_of_the_guide_for_a_page_that_no_proposal_fits(site: PageSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.pages = {"/": "<article class=product_pod><h3><a href=/1 title='The whole title'>The who…</a></h3><p class=price_color>£5.10</p></article>"}
    monkeypatch.chdir(tmp_path)
    (_, settings), (_, commands), *_ = blocks(PAGE.partition("## If a proposal")[2])
    Path("settings.toml").write_text(settings.replace("https://books.example", site.url))
    for line in re.sub(r" +#.*", "", commands).splitlines():
        if line not in NEEDS_A_TERMINAL:
            done = CliRunner().invoke(main, shlex.split(line.replace("https://books.example", site.url))[1:])
            assert done.exit_code == 0, f"{line}: {done.output}"
            assert "The whole title" in done.output or "--css" in line
