"""Write the mails that the next digest would consist of as files."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from pipeline.errors import MailError, UsageError
from pipeline.mail.digests.asked_contents import asked_contents, asked_model, asked_text
from pipeline.mail.digests.channel_text import content_text
from pipeline.mail.digests.notice import NOTHING_NEW
from pipeline.mail.digests.renderer import RENDER_LEVELS, DigestRenderer, scratch_folder
from pipeline.mail.render.item_pictures import FetchPictures, PictureLoader
from pipeline.mail.render.render import Rendered
from pipeline.settings import Settings, nearest
from pipeline.store import Store
from pipeline.store.mail import digests as stored


def _ignore(_: str) -> None:
    """Do nothing. This is the default of `say`."""


def preview(store: Store, settings: Settings, name: str, folder: Path, *, now: datetime, since: datetime | None = None,
            fetch_pictures: FetchPictures | None = None, say: Callable[[str], None] = _ignore) -> list[Path]:
    """Render the mails that the next digest would consist of, and write them as files to `folder`.

    The store is not changed, except that a language model is asked if the digest asks one, and that what it was asked is counted. If each recipient gets a message of their own, only the message of the first recipient is written.

    Return the paths of the files: NAME.eml, NAME.html and NAME.txt for the first mail, NAME-2.eml and so on for further mails, and
    NAME-notify.txt with the text for notification channels.

    since: report every run that ended at or after this time; None means the runs that this digest has not reported yet. fetch_pictures:
    fetches the pictures of items; None shows none. say: called with NOTHING_NEW if the files show a mail without news, which would not be sent, and with
    what the language model was asked.

    Raises UsageError for an unknown digest or an error in a template, MailError for an invalid address or if a file cannot be
    written, StoreError.
    """
    table = settings.digests.get(name)
    if table is None:
        raise UsageError(f"no digest named {name!r}{nearest(name, settings.digests)}", where="settings.toml: digests")
    run_ids = stored.untold(store, name, table.spiders) if since is None else \
        stored.ended_since(store, table.spiders, since)
    loader = PictureLoader(store.files, fetch_pictures, keep=False) if fetch_pictures is not None else None
    renderer = DigestRenderer(store, settings, name, digest_id=0, now=now, pictures=loader)
    paths: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        model = asked_model(store, settings, name)
        with scratch_folder(folder / f".rendering-{name}") as scratch:
            contents = asked_contents(store, settings, name, run_ids, model, now=now)
            if model is not None and (asked := asked_text(model)):
                say(asked)
            if not contents:
                say(NOTHING_NEW)
                contents = asked_contents(store, settings, name, run_ids, model, now=now, even_empty=True)
            mails = (mail for mail in renderer.mails(contents, scratch=scratch, keep_under="") if mail.is_first)
            for number, mail in enumerate(mails, 1):
                stem = folder / (name if number == 1 else f"{name}-{number}")
                with stem.with_name(f"{stem.name}.eml").open("wb") as file:
                    renderer.write(file, renderer.envelope(mail, number=number), mail)
                paths.append(stem.with_name(f"{stem.name}.eml"))
                for extension, content in (("html", standalone(mail.page)), ("txt", mail.page.text)):
                    if content:
                        paths.append(stem.with_name(f"{stem.name}.{extension}"))
                        paths[-1].write_text(content, "utf-8")
            for number, channels in enumerate((each for each in contents if each.table.notify), 1):
                paths.append(folder / (f"{name}-notify.txt" if number == 1 else f"{name}-notify-{number}.txt"))
                paths[-1].write_text(str(content_text(settings, channels, name=name, now=now, level=RENDER_LEVELS[0])), "utf-8")
    except OSError as error:
        raise MailError(f"the preview cannot be written: {error.strerror}", where=str(folder),
                        fix="choose another folder") from error
    return paths


def standalone(rendered: Rendered) -> str:
    """Return the HTML of a mail with its pictures embedded, so that a browser can show the HTML as a file."""
    html = rendered.html
    for picture in rendered.pictures:
        html = html.replace(f"cid:{picture.name}", f"data:{picture.content_type};base64,{base64.b64encode(picture.content).decode()}")
    return html
