"""Check users' code in child processes.

Import the classes of spiders, and render the templates of digests on sample data.

Each piece of code has its own process with a time limit, so code that hangs, ends the process or prints cannot disturb the check.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.cli.settings_check.remark import Remark
from pipeline.errors import PipelineError
from pipeline.settings import Settings

TIME_LIMIT_S = 20.0
_AT_ONCE = 2
_TEMPLATES = ("digest.html", "digest.txt")


class _Code(NamedTuple):
    """A piece of code to execute. key: the settings key that names it. kind, name: the arguments of the child process."""

    key: str
    kind: str
    name: str


def check(settings: Settings, *, time_limit_s: float = TIME_LIMIT_S) -> Iterator[Remark]:
    """Yield a remark for each spider's class that cannot be used and each template that cannot be rendered."""
    wanted = [*_spiders(settings), *_digests(settings)]
    if wanted:
        yield from asyncio.run(_check_all(settings, wanted, time_limit_s))


def _spiders(settings: Settings) -> Iterator[_Code]:
    seen = set()
    for name, spider in settings.spiders.items():
        code = (spider.project, spider.spider, bool(spider.start))
        if not spider.is_built_in and code not in seen:
            seen.add(code)
            yield _Code(f"spiders.{name}.spider", "spider", name)


def _digests(settings: Settings) -> Iterator[_Code]:
    seen = set()
    for name, digest in settings.digests.items():
        folder = settings.folder / digest.templates if digest.templates is not None else None
        for template in _TEMPLATES if folder is not None else ():
            if folder is not None and (folder / template).is_file() and (folder, template) not in seen:
                seen.add((folder, template))
                yield _Code(f"digests.{name}.templates", template, name)


async def _check_all(settings: Settings, wanted: list[_Code], time_limit_s: float) -> list[Remark]:
    from pipeline.workers.forkserver import warm_up
    warm_up()
    free = asyncio.Semaphore(_AT_ONCE)
    with tempfile.TemporaryDirectory(prefix="pipeline-check-") as folder:
        found = await asyncio.gather(*(_check_one(settings, code, Path(folder, str(number)), free, time_limit_s)
                                       for number, code in enumerate(wanted)))
    return [remark for remarks in found for remark in remarks]


async def _check_one(settings: Settings, code: _Code, log_file: Path, free: asyncio.Semaphore, time_limit_s: float) -> list[Remark]:
    from pipeline.workers.process import Child
    doing = f"importing {settings.spiders[code.name].spider}" if code.kind == "spider" else f"rendering {code.kind}"
    async with free:
        child = Child("check", settings, log_file, code.kind, code.name)
        try:
            await asyncio.to_thread(child.start)
            ended = await child.wait(time_limit_s)
            if ended is None:
                return [Remark(code.key, f"{doing} did not end within {time_limit_s:g} s", "check the code for an endless loop, or for a "
                               "wait for the network")]
            error = child.result()
        except EOFError:
            how = f"was killed by signal {-ended}" if ended is not None and ended < 0 else f"ended with exit code {ended}"
            return [Remark(code.key, f"the process {how} while {doing}", "correct the code")]
        except PipelineError as failed:
            error = failed
        finally:
            child.kill()
            child.close()
    if error is not None:
        return [Remark.of(code.key, error)]
    return [Remark(code.key, sentence, suspicious=True) for sentence in child.remarks]
