"""The resources of the API, one module a resource: its models, its routes and their handlers."""

from __future__ import annotations

from pipeline.heartbeat.http.api.resources import (
    archive,
    digests,
    downloads,
    drafts,
    items,
    outbox,
    run_rows,
    runs,
    service,
    spiders,
)
from pipeline.heartbeat.http.api.route import Route


def all_routes() -> list[Route]:
    """Return the routes of all resources."""
    return [route for resource in (spiders, runs, run_rows, items, downloads, archive, outbox, digests, drafts, service) for route in resource.routes()]
