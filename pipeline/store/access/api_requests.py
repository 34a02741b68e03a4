"""Requests to the API with an Idempotency-Key, and the responses to them.

The same request again gets the stored response.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select, update

from pipeline.store.database.engine import Store
from pipeline.store.database.schema import api_requests

KEPT_FOR = timedelta(hours=24)
LONGEST_BODY = 1 << 20
"""A longer response is not stored, only that the request was performed."""
MOST_OF_TOKEN = 10_000
"""The newest requests of a token that are kept."""
_CHECK_EVERY = 100
_BATCH = 1000


@dataclass(frozen=True)
class ApiRequest:
    """A stored request. token: the name of its token. request_hash: of its route, parameters and body.

    status: None while it is being performed, or if the process ended meanwhile. body: "" if it was too long. headers: those that the
    API has set.
    """

    id: int
    token: str
    request_hash: str
    created_at: datetime
    status: int | None
    headers: Mapping[str, str]
    body: str


def begin(store: Store, token: str, key: str, request_hash: str, *, now: datetime) -> tuple[ApiRequest, bool]:
    """Store that a request begins, and return it with True; or return the one of the same token and key with False, if there is one.

    The row is there even after a power failure: what it begins must not be done twice.
    """
    key_hash = hashlib.sha256(key.encode()).hexdigest()
    own = (api_requests.c.token == token) & (api_requests.c.key_hash == key_hash)
    with store.write(durable=True) as connection:
        row = connection.execute(select(api_requests).where(own)).first()
        if row is not None and row.created_at > now - KEPT_FOR:
            return ApiRequest(row.id, row.token, row.request_hash, row.created_at, row.status, row.headers or {}, row.body), False
        if row is not None:
            connection.execute(delete(api_requests).where(api_requests.c.id == row.id))
        number = connection.execute(insert(api_requests).values(token=token, key_hash=key_hash, request_hash=request_hash, created_at=now).returning(
            api_requests.c.id)).scalar_one()
        if number % _CHECK_EVERY == 0:
            of_token = select(api_requests.c.id).where(api_requests.c.token == token)
            last = connection.execute(of_token.order_by(api_requests.c.id.desc()).offset(MOST_OF_TOKEN).limit(1)).scalar()
            if last is not None:
                connection.execute(delete(api_requests).where(api_requests.c.token == token, api_requests.c.id <= last))
    return ApiRequest(number, token, request_hash, now, None, {}, ""), True


def finish(store: Store, request: ApiRequest, *, status: int, headers: Mapping[str, str], body: str) -> None:
    """Store the response to a request."""
    with store.write() as connection:
        connection.execute(update(api_requests).where(api_requests.c.id == request.id).values(
            status=status, headers=dict(headers), body=body if len(body) <= LONGEST_BODY else ""))


def forget(store: Store, request: ApiRequest) -> None:
    """Delete a request that was not performed, so that it can be sent again."""
    with store.write() as connection:
        connection.execute(delete(api_requests).where(api_requests.c.id == request.id))


def delete_old(store: Store, *, now: datetime) -> int:
    """Delete the requests of which the responses are no longer kept, at most 1,000 at once; return how many."""
    with store.write() as connection:
        old = select(api_requests.c.id).where(api_requests.c.created_at <= now - KEPT_FOR).limit(_BATCH)
        return int(connection.execute(delete(api_requests).where(api_requests.c.id.in_(old))).rowcount)
