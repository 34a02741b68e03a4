"""The temporary folders of browsers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.session.browser.process import profile
from pipeline.session.browser.process.profile import Profile, delete_left_profiles


def test_the_folders_of_killed_processes_are_deleted_and_those_in_use_are_kept(tmp_path: Path) -> None:
    deep = tmp_path / ("a-long-path-" * 5) / "browsers"  # its temporary files are elsewhere
    used = Profile(deep)
    code = f"from pathlib import Path; from pipeline.session.browser.process.profile import Profile; p = Profile(Path({str(deep)!r})); print(p.environment()['TMPDIR'], flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        temporary = Path(other.stdout.readline().strip())
        assert temporary.is_dir()
        assert delete_left_profiles(deep) == 0
        other.kill()
        other.wait()
    assert delete_left_profiles(deep) == 1
    assert not temporary.exists()
    assert list(deep.iterdir()) == [used.folder]
    used.delete()
    assert list(deep.iterdir()) == []
    assert delete_left_profiles(tmp_path / "none") == 0


def test_no_folder_for_temporary_files_is_too_deep_for_the_sockets_of_the_browser(tmp_path: Path) -> None:
    short, deep = Profile(Path("/tmp") / tmp_path.name[:9]), Profile(tmp_path / ("x" * 100))
    try:
        assert short.environment()["TMPDIR"] == str(short.folder / "tmp")
        assert len(os.fsencode(deep.environment()["TMPDIR"])) <= profile._LONGEST
    finally:
        short.delete()
        deep.delete()
        short.folder.parent.rmdir()


def test_a_browser_gets_none_of_the_secrets_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "geheim")
    found = Profile(tmp_path)
    assert "geheim" not in str(found.environment())
    assert found.environment()["HOME"] == str(found.folder)
    assert found.folder.stat().st_mode & 0o077 == 0
    found.delete()
