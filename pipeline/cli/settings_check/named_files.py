"""Check the files and programs that the settings name.

Cookies, certificates, templates, commands, and packages of extras.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from pipeline.cli.settings_check.remark import Remark
from pipeline.errors import PipelineError
from pipeline.settings import Settings
from pipeline.text import counted

_EXPIRES_SOON_DAYS = 14


def check(settings: Settings) -> Iterator[Remark]:
    """Yield a remark for each file or program that is missing or cannot be used."""
    for name, spider in settings.spiders.items():
        if spider.ca_file is not None:
            yield from _authorities(f"spiders.{name}.ca_file", settings.folder / Path(spider.ca_file).expanduser())
        if spider.cookies is not None and spider.cookies.file is not None:
            yield from _cookies(f"spiders.{name}.cookies.file", settings.folder / Path(spider.cookies.file).expanduser(),
                                spider.cookies.url or (spider.start[0].url if spider.start else ""))
    if settings.mail.ca_file is not None:
        yield from _authorities("mail.ca_file", settings.folder / settings.mail.ca_file)
    if settings.archive.timestamp_ca is not None:
        yield from _authorities("archive.timestamp_ca", settings.folder / settings.archive.timestamp_ca)
    for key, command in (("mail.command", settings.mail.command), ("mail.token_command", settings.mail.token_command)):
        if command is not None and (not command or shutil.which(command[0]) is None):
            yield Remark(key, f"there is no program {command[0]}" if command else "the command is empty",
                         "correct the path of the program, or install it")
    yield from _server_certificate(settings)
    for name, digest in settings.digests.items():
        if digest.templates is not None:
            yield from _templates(f"digests.{name}.templates", settings.folder / digest.templates)
        if digest.charts and find_spec("resvg_py") is None:
            yield Remark(f"digests.{name}.charts", "charts need the package resvg-py, which is not installed",
                         "run `pip install 'crawl-to-inbox[charts]'`, or remove `charts`")
        if digest.images and find_spec("PIL") is None:
            yield Remark(f"digests.{name}.images", "pictures need the package Pillow, which is not installed",
                         "run `pip install 'crawl-to-inbox[images]'`, or remove `images`")


def _unreadable(key: str, path: Path) -> Remark | None:
    """Return a remark if a file cannot be read, otherwise None."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        return Remark(key, f"the file {path} cannot be read: {(error.strerror or str(error)).lower()}",
                      "create the file, or correct the path; a relative path starts at the folder of settings.toml")
    return None


def _authorities(key: str, path: Path) -> Iterator[Remark]:
    from pipeline.session.transport.tls import verified_context
    if (unreadable := _unreadable(key, path)) is not None:
        yield unreadable
        return
    try:
        verified_context(path)
    except PipelineError:
        yield Remark(key, f"the file {path} contains no certificates in PEM format", "write the certificate of the authority to the file, "
                     "from \"-----BEGIN CERTIFICATE-----\" to \"-----END CERTIFICATE-----\"")


def _cookies(key: str, path: Path, url: str) -> Iterator[Remark]:
    from pipeline.session.cookies.importers import read_cookies, read_import
    if (unreadable := _unreadable(key, path)) is not None:
        yield unreadable
        return
    try:
        found = read_cookies(read_import(path), str(path), url=url)
    except PipelineError as error:
        yield Remark.of(key, error)
        return
    if all(cookie.has_expired(datetime.now(UTC).timestamp()) for cookie in found):
        what = f"all {counted(len(found), 'cookie')} in {path} have expired" if found else f"{path} contains no cookies"
        yield Remark(key, what, "log in with a browser and export the cookies again", suspicious=bool(found))


def _templates(key: str, folder: Path) -> Iterator[Remark]:
    if not folder.is_dir():
        yield Remark(key, f"the folder {folder} does not exist", "create the folder, or correct the path")
    elif not any((folder / name).is_file() for name in ("digest.html", "digest.txt")):
        yield Remark(key, f"the folder {folder} contains neither digest.html nor digest.txt, so the built-in templates are used",
                     "name your templates digest.html and digest.txt, or remove `templates`", suspicious=True)


def _server_certificate(settings: Settings) -> Iterator[Remark]:
    """Check the certificate and the key of the heartbeat server."""
    table = settings.heartbeat
    if table.certificate is None:
        return
    from pipeline.heartbeat.connections.listeners import tls_context
    key, path = "heartbeat.certificate", settings.folder / table.certificate
    if (unreadable := _unreadable(key, path)) is not None:
        yield unreadable
        return
    if table.key is not None and (unreadable := _unreadable("heartbeat.key", settings.folder / table.key)) is not None:
        yield unreadable
        return
    try:
        tls_context(settings)
    except PipelineError as error:
        yield Remark(key, error.what, error.fix)
        return
    yield from _validity(key, path, now=datetime.now(UTC))


def _validity(key: str, path: Path, *, now: datetime) -> Iterator[Remark]:
    """Yield a warning if the first certificate of a PEM file is expired, expires soon, or is not valid yet."""
    from cryptography.x509 import load_pem_x509_certificate
    try:
        certificate = load_pem_x509_certificate(path.read_bytes())
    except ValueError:  # OpenSSL has accepted the certificate
        return
    end, begin = certificate.not_valid_after_utc, certificate.not_valid_before_utc
    left = (end - now).days
    if end <= now:
        yield Remark(key, f"the certificate expired on {end:%Y-%m-%d}", "renew the certificate", suspicious=True)
    elif left < _EXPIRES_SOON_DAYS:
        yield Remark(key, f"the certificate expires in {counted(left, 'day')}, on {end:%Y-%m-%d}", "renew the certificate", suspicious=True)
    elif begin > now:
        yield Remark(key, f"the certificate is valid only from {begin:%Y-%m-%d} on", "correct the clock, or use another certificate", suspicious=True)
