"""When the cookies of a login end: written by whoever has the jar, read by alerts and the heartbeat, which have none."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, or_, select

from pipeline.model import LoginCookie
from pipeline.store.database.engine import Store
from pipeline.store.database.schema import login_cookies


def record(store: Store, spider: str, login_at: datetime, cookies: Sequence[LoginCookie], *, now: datetime) -> None:
    """The jar's word on the spider's login. login_at: that login's; what was known of earlier ones goes.

    What has ended meanwhile stays: jars forget it, and until there is a new login nothing is mended.
    """
    rows = login_cookies.c
    with store.write() as connection:
        connection.execute(delete(login_cookies).where(
            rows.spider == spider, or_(rows.login_at != login_at, rows.ends_at > now)))
        if cookies:
            connection.execute(insert(login_cookies), [{"spider": spider, **vars(cookie)} for cookie in cookies])


def first_ends(connection: Connection, *, at_least: timedelta = timedelta()) -> dict[str, LoginCookie]:
    """By spider, the cookie of its login that ends first.

    at_least: what a login of ours sets for no longer than this is made anew that often, and does not count.
    """
    found: dict[str, LoginCookie] = {}
    for row in connection.execute(select(login_cookies).order_by(login_cookies.c.ends_at, login_cookies.c.name)):
        if row.spider not in found and (row.brought_in or row.ends_at - row.login_at > at_least):
            found[row.spider] = LoginCookie(row.name, row.site, row.login_at, row.brought_in, row.ends_at)
    return found
