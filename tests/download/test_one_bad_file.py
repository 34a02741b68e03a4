"""A file that cannot be fetched fails alone.

The others are stored, and after five runs it is skipped for a while.
"""

from __future__ import annotations

import pytest

from tests.servers.pages import Answer, PageSite
from tests.servers.program import Program

SPIDER = """
[spiders.papers]
start = ["{url}/"]
download = ["a"]
robots = false
retries = 0
[spiders.papers.downloads]
attempts = 1
"""
BAD = {
    "a redirect to a port that is no number": Answer(status=302, headers={"Location": "http://host:99x90/"}),
    "a redirect to a port beyond 65535": Answer(status=302, headers={"Location": "http://127.0.0.1:99999/x"}),
    "a redirect to half an address": Answer(status=302, headers={"Location": "http://[foo/"}),
    "a redirect to nowhere": Answer(status=302, headers={"Location": "http://"}),
    "a redirect without end": Answer(status=302, headers={"Location": "/bad"}),
    "a redirect to a host that is no name": Answer(status=302, headers={"Location": "http://a..b/"}),
    "a redirect to a file of ours": Answer(status=302, headers={"Location": "file:///etc/passwd"}),
}


def contents(program: Program) -> set[bytes]:
    """The contents of all stored files."""
    return {path.read_bytes() for path in (program.data / "downloads" / "papers").iterdir() if path.is_file() and not path.is_symlink()}


@pytest.mark.parametrize("kind", BAD)
def test_a_hostile_redirect_fails_only_its_file_in_this_run_and_the_next(program: Program, kind: str):
    links = "<a href=/bad>1</a><a href=/good>2</a>"
    with PageSite({"/": Answer(links), "/bad": BAD[kind], "/good": Answer(b"good", headers={"Content-Type": "text/plain"})}) as site:
        program.write(SPIDER.format(url=site.url))
        for _ in range(2):
            done = program.run("run", "papers")
            assert done.returncode == 0, done.stdout + done.stderr
            assert "1 file failed" in done.stdout
    assert contents(program) == {b"good"}


def test_a_file_name_in_an_unknown_charset_is_ignored(program: Program):
    named = Answer(b"pdf", headers={"Content-Disposition": "attachment; filename*=undefined''x.pdf"})
    with PageSite({"/": Answer("<a href=/bad>1</a><a href=/good>2</a>"), "/bad": named, "/good": Answer(b"good")}) as site:
        program.write(SPIDER.format(url=site.url))
        assert "2 files" in program.run("run", "papers").stdout
    assert contents(program) == {b"pdf", b"good"}


def test_a_folder_or_link_with_the_files_name_gives_the_file_another_name(program: Program):
    with PageSite({"/": Answer("<a href=/report>1</a><a href=/good>2</a>"), "/report": Answer(b"report"), "/good": Answer(b"good")}) as site:
        program.write(SPIDER.format(url=site.url))
        (program.data / "downloads" / "papers" / "report").mkdir(parents=True)
        (program.data / "downloads" / "papers" / "good").symlink_to("/etc/passwd")
        assert program.run("run", "papers").returncode == 0
    assert contents(program) == {b"good", b"report"}


def test_the_runs_line_says_which_files_are_set_aside(program: Program):
    with PageSite({"/": Answer("<a href=/gone>1</a><a href=/good>2</a>"), "/good": Answer(b"good")}) as site:
        program.write(SPIDER.format(url=site.url))
        lines = [program.run("run", "papers").stdout for _ in range(6)]
        asked = sum(asked.path == "/gone" for asked in site.asked)
    assert asked == 5
    assert all("1 file failed" in line and "aside" not in line for line in lines[:5])
    assert all(f"1 file failed; the first: {site.url}/gone: the server answered 404" in line for line in lines[:5])
    assert "the first" not in lines[5].partition(" skipped ")[0]
    assert "1 file skipped after failing in 5 passes" in lines[5]
    assert f"{site.url}/gone: the server answered 404" in lines[5]
