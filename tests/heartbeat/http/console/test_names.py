"""Tests that a spider or a digest may have any name.

Also the words of the paths of pages lead to what has this name.
"""

from __future__ import annotations

import re

import pytest
from aiohttp.test_utils import make_mocked_request

from pipeline.heartbeat.access import AccessPolicy
from pipeline.settings.cross_checks import ENTRY_NAME
from tests.heartbeat.http.console.world import page

VALUES = {"id": "1", "place": "1", "form": "csv", "key": "downloads"}


@pytest.mark.parametrize("run", ["asyncio"], indirect=True)
def test_each_word_of_a_path_is_a_name_that_leads_to_the_pages_and_actions_of_what_has_this_name(start, world, run):
    router = start(source=world, actions=world.actions, access=AccessPolicy(world.token)).http_app.router
    routes = [route for route in router.routes() if route.resource is not None and route.method != "HEAD"]
    paths = [route.resource.canonical for route in routes]
    places = {path.split("/").index("{name}") for path in paths if "{name}" in path.split("/")}
    parts = {path.split("/")[place] for path in paths for place in places if place < len(path.split("/"))}
    words = {part for part in parts if ENTRY_NAME.fullmatch(part)} | {"new", "list", "new-spider"}
    named = [(route, path) for route, path in zip(routes, paths, strict=True) if "{name}" in path]
    assert {"retry", "reload"} <= words
    assert len(named) > 50

    async def elsewhere():
        """What another route answers than the one to which the path belongs."""
        found = []
        for word in sorted(words):
            for route, path in named:
                asked = re.sub(r"{(\w+)}", lambda parameter: {**VALUES, "name": word}[parameter[1]], path)  # noqa: B023  used at once
                match = await router.resolve(make_mocked_request(route.method, asked))
                if match.route is not route or match["name"] != word:
                    found.append((route.method, asked, match.route))
        return found

    assert run(elsewhere()) == []


@pytest.mark.parametrize("run", ["asyncio"], indirect=True)
def test_spiders_and_digests_with_the_names_of_paths_have_their_pages(browser, world):
    tables, digests = world.settings.spiders, world.settings.digests
    world.settings = world.settings.model_copy(update={"spiders": dict.fromkeys(("new", "list", "new-spider"), tables["idle"]),
                                                       "digests": dict.fromkeys(("new", "send"), digests["books"])})
    for name in ("new", "list", "new-spider"):
        assert page(browser, f"/spiders/{name}").cssselect("h1")[0].text.strip() == name
        assert page(browser, f"/archive/{name}").cssselect("h1")[0].text.strip() == name
        assert f"Settings of {name}" in page(browser, f"/spiders/{name}/edit").text_content()
    for name in ("new", "send"):
        assert page(browser, f"/digests/{name}").cssselect("h1")[0].text.strip() == name
    assert page(browser, "/new-spider").forms[-1].action == "/new-spider/suggest"
