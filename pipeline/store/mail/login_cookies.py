"""When the cookies of a spider's login expire: written by the session, read by alerts and heartbeat."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, or_, select

from pipeline.model import LoginCookie
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import login_cookies


def record(store: Store, spider: str, login_at: datetime, cookies: Sequence[LoginCookie], *, now: datetime) -> None:
    """Record the cookies of a spider's login. login_at: time of that login; cookies of earlier logins are deleted.

    Cookies that expired since are kept, although the jar drops them: until the next login the problem persists.
    """
    rows = login_cookies.c
    with store.write() as connection:
        connection.execute(delete(login_cookies).where(
            rows.spider == spider, or_(rows.login_at != login_at, rows.ends_at > now)))
        if cookies:
            connection.execute(insert(login_cookies), [{"spider": spider, **vars(cookie)} for cookie in cookies])


def first_ends(connection: Connection, *, at_least: timedelta = timedelta()) -> dict[str, LoginCookie]:
    """By spider, the login cookie that expires first.

    at_least: cookies of the program's own logins with a shorter lifetime are left out: they are renewed that often.
    """
    found: dict[str, LoginCookie] = {}
    for row in connection.execute(select(login_cookies).order_by(login_cookies.c.ends_at, login_cookies.c.name)):
        if row.spider not in found and (row.brought_in or row.ends_at - row.login_at > at_least):
            found[row.spider] = LoginCookie(row.name, row.site, row.login_at, row.brought_in, row.ends_at)
    return found
