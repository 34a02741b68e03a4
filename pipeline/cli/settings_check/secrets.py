"""Check that every secret can be read, and that it is usable for what the settings use it for."""

from __future__ import annotations

import contextlib
import re
import stat
from collections.abc import Callable, Iterator
from functools import partial

from pipeline.cli.settings_check.remark import Remark
from pipeline.cli.settings_check.walk import values_within
from pipeline.errors import PipelineError
from pipeline.settings import Secret, Settings, SpiderTable
from pipeline.text import counted


def named_secrets(settings: Settings) -> Iterator[tuple[str, Secret]]:
    """Yield each secret in the settings with its key, except the demo's password, a file that the demo site creates when it starts."""
    demo = settings.data_dir / "demo-password" if settings.demo is not None else None
    for key, value in values_within(settings):
        if isinstance(value, Secret) and (value.kind != "file" or value.path != demo):
            yield key, value


def check_secrets(settings: Settings) -> Iterator[Remark]:
    """Yield a remark for each secret that cannot be read or used. A secret with several keys is reported at its first key."""
    keys_of: dict[Secret, list[str]] = {}
    for key, secret in named_secrets(settings):
        keys_of.setdefault(secret, []).append(key)
    for secret, keys in keys_of.items():
        more = f" (needed by {counted(len(keys) - 1, 'further setting')}, too)" if len(keys) > 1 else ""
        if secret.kind == "env" and not re.fullmatch(r"\w+", secret.place):  # the text may be the secret itself
            yield Remark(keys[0], "`env` does not contain the name of an environment variable" + more,
                         "write the name, such as { env = \"MAIL_PASSWORD\" }, not the secret and no $")
            continue
        try:
            value = secret.reveal()
        except PipelineError as error:
            fix = "run `pipeline mail login`, which creates the file" if keys[0] == "mail.oauth2.refresh_token" else error.fix
            yield Remark(keys[0], error.what + more, fix)
            continue
        if not value.strip():
            yield Remark(keys[0], f"the secret is empty{more}", f"correct {_place(secret)}")
            continue
        if secret.kind == "file" and stat.S_IMODE(secret.path.stat().st_mode) & 0o077:
            yield Remark(keys[0], f"other users can access {secret.path}", f"run `chmod 600 {secret.path}`", suspicious=True)
        channels = [key for key in keys if ".notify[" in key]
        for key in [*(key for key in keys if key not in channels), *channels[:1]]:  # the URL of a channel is checked once
            yield from _use_problems(settings, key, secret, value)


def _place(secret: Secret) -> str:
    return {"env": f"the environment variable {secret.place}", "file": f"the file {secret.place}"}.get(secret.kind, f"{secret.place} in the keyring")


def _use_problems(settings: Settings, key: str, secret: Secret, value: str) -> Iterator[Remark]:
    """Yield a remark if the content of a secret is not what its key needs. The remark never contains the secret."""
    if key == "mail.dkim.key":
        from pipeline.mail.message.dkim import signer_of
        yield from _raised(key, partial(signer_of, settings))
    elif ".totp." in key:
        from pipeline.session.login.totp import totp_code
        yield from _raised(key, partial(totp_code, value, 0.0))
    elif key == "pipeline.database":
        from pipeline.store.database.engine import check_url
        yield from _raised(key, partial(check_url, value))
    elif key.startswith("spiders.") and key.endswith(".cookies.header"):
        from pipeline.session.cookies.importers import read_cookies
        yield from _raised(key, partial(read_cookies, value, "", url=_site(settings.spiders[key.split(".")[1]])))
    elif ".notify[" in key:
        from pipeline.mail.channels.from_settings import open_channel
        with contextlib.closing(open_channel(lambda: settings, secret.reference)) as channel:
            yield from _raised(key, channel.connect)
    elif key.endswith(".beat"):
        if not value.strip().startswith(("https://", "http://")):
            yield Remark(key, "the secret is not a URL", f"write the whole https URL of the monitor to {_place(secret)}")
    elif "\n" in value.strip() or "\r" in value.strip():
        yield Remark(key, "the secret has several lines", f"check that {_place(secret)} contains nothing else", suspicious=True)


def _site(spider: SpiderTable) -> str:
    """Return the URL to which cookies without a domain belong."""
    own = spider.cookies.url if spider.cookies is not None else None
    return own or (spider.start[0].url if spider.start else "")


def _raised(key: str, work: Callable[[], object]) -> Iterator[Remark]:
    try:
        work()
    except PipelineError as error:
        yield Remark(key, error.what, error.fix)
