"""Files that are imported are not trusted: bombs, secrets and texts that would become settings."""

from __future__ import annotations

import json
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli.imports import source_files
from pipeline.cli.main import main

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in tmp_path, in this process, which must fail with a sentence."""
    monkeypatch.chdir(tmp_path)

    def refused(kind: str, text: str | bytes, name: str = "file.json") -> str:
        Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
        done = CliRunner().invoke(main, ["import", kind, name])
        assert done.exit_code == 2, done.output
        assert done.exception is None or isinstance(done.exception, SystemExit)
        return done.output
    return refused


def merges(depth: int) -> str:
    """YAML whose merge keys become 9 ** depth pairs."""
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{number}: &a{number} {{<<: [{', '.join([f'*a{number - 1}'] * 9)}]}}" for number in range(1, depth)]
    return "\n".join(lines)


def entities(depth: int) -> str:
    """OPML whose entities become 10 ** depth characters."""
    inner = "".join(f'<!ENTITY e{number} "{f"&e{number - 1};" * 10}">' for number in range(1, depth))
    return f'<!DOCTYPE opml [<!ENTITY e0 "aaaaaaaaaa">{inner}]><opml><body><outline text="&e{depth - 1};" xmlUrl="http://a.example/"/></body></opml>'


@pytest.mark.parametrize(("kind", "text", "said"), [
    ("urlwatch", merges(12), "the file has too many values"),
    ("urlwatch", "a: &a [*a]", "the file refers to itself"),
    ("urlwatch", "[" * 100 + "]" * 100, "the file is nested too deeply"),
    ("urlwatch", "{", "the file is not valid YAML: "),
    ("urlwatch", "- !!python/object/apply:os.system [true]", "the file is not valid YAML: could not determine a constructor"),
    ("urlwatch", "url: 2026-99-99", "the file is not valid YAML: "),
    ("urlwatch", "just text", "the file has no jobs of urlwatch"),
    ("urlwatch", b"\xff\xfe\xfa", "the file is not UTF-8 text (byte 0)"),
    ("urlwatch", "url: file:///etc/passwd", "its URL begins with file:"),
    ("urlwatch", "url: 'http://[::1'", "its URL is not valid"),
    ("opml", entities(12), "nothing could be carried over"),
    ("opml", '<!DOCTYPE o [<!ENTITY x SYSTEM "file:///etc/hostname">]><opml><body><outline>&x;</outline></body></opml>', "it has no xmlUrl"),
    ("opml", "<html></html>", "the file is not OPML"),
    ("opml", "", "the file is not valid XML"),
    ("changedetection", "[" * 5000, "the file is not valid JSON"),
    ("changedetection", "{}", "the file has no watches"),
    ("changedetection", json.dumps({"watching": {"a": 5, "b": {"url": "{% now 'utc' %}"}, "c": {"url": None}}}), "its URL is a template"),
])
def test_a_file_that_cannot_be_read_is_refused_with_the_reason(run: Run, kind: str, text: str | bytes, said: str) -> None:
    assert said in run(kind, text)


def test_a_file_and_an_archive_have_a_largest_size(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_files, "MAX_FILE", 100_000)
    with zipfile.ZipFile(tmp_path / "backup.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("url-watches.json", b" " * 5_000_000)
    assert "the files are too large" in run("changedetection", (tmp_path / "backup.zip").read_bytes(), "b.zip")
    with zipfile.ZipFile(tmp_path / "folders.zip", "w") as archive:
        archive.writestr("../../changedetection.json", "{}")
        archive.writestr("a/b/watch.json", '{"url": "http://a.example/"}')
    assert "the file has no watches" in run("changedetection", (tmp_path / "folders.zip").read_bytes(), "f.zip")
    assert "this is not a ZIP" not in run("changedetection", b"PK\x03\x04 broken", "broken.zip")


def test_texts_of_a_file_stay_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    title = "a\nb = 1\n[mail]\u2028\x1b[31m \"quoted\" # x"
    watches = {str(number): {"url": "http://a.example/", "title": title, "ignore_text": ["\"\n[x]", "/(/"], "include_filters": ["'\"]\n"],
                             "tags": ["t"], "headers": {"X\nY": "1", "X-Z": "a\r\nb"}} for number in range(3)}
    Path("w.json").write_text(json.dumps({"watching": watches, "settings": {"application": {"tags": {"t": {"title": title}}}}}), "utf-8")
    done = CliRunner().invoke(main, ["import", "changedetection", "w.json", "--to", "me@site.example"])
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.output
    tables = tomllib.loads(done.stdout)
    assert set(tables) == {"spiders", "digests"}
    assert list(tables["spiders"]) == ["a-b-1-mail-31m-quoted-x", "a-b-1-mail-31m-quoted-x-2", "a-b-1-mail-31m-quoted-x-3"]
    assert all(set(table) == {"spider", "schedule", "start", "watch", "tags"} for table in tables["spiders"].values())
    assert "headers" in done.output
