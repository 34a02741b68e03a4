"""When the cookies of a spider's login expire.

Sessions write the table; alerts and the heartbeat read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, or_, select

from pipeline.model import LoginCookie
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import login_cookies


def record(store: Store, spider: str, login_at: datetime, cookies: Sequence[LoginCookie], *, now: datetime) -> None:
    """Record the cookies of a spider's login, and delete the cookies of earlier logins.

    login_at: the time of the login. Expired cookies of this login stay in the table until the next login, although the cookie
    jar drops them, because they show that the spider is no longer logged in.
    """
    rows = login_cookies.c
    with store.write() as connection:
        connection.execute(delete(login_cookies).where(
            rows.spider == spider, or_(rows.login_at != login_at, rows.ends_at > now)))
        if cookies:
            connection.execute(insert(login_cookies), [{"spider": spider, **vars(cookie)} for cookie in cookies])


def first_ends(connection: Connection, *, at_least: timedelta = timedelta()) -> dict[str, LoginCookie]:
    """Return a mapping from each spider to the login cookie of the spider that expires first.

    at_least: a cookie that the program got by logging in is left out if its lifetime is not longer than this, because the
    program renews such a cookie in time. Imported cookies are always included.
    """
    found: dict[str, LoginCookie] = {}
    for row in connection.execute(select(login_cookies).order_by(login_cookies.c.ends_at, login_cookies.c.name)):
        if row.spider not in found and (row.brought_in or row.ends_at - row.login_at > at_least):
            found[row.spider] = LoginCookie(row.name, row.site, row.login_at, row.brought_in, row.ends_at)
    return found
