"""`pipeline import changedetection`: watches of a backup become spiders that run."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from tests.cli.imports.conftest import DATA, Importer
from tests.servers.pages import PageSite

LAMP = "<nav>menu</nav><p id=price>5 EUR, 12 views</p><div id=stock>in stock</div><div id=stock>Visitors: 4</div>"


@pytest.fixture
def folder(tmp_path: Path, site: PageSite) -> Path:
    """The data folder of a changedetection.io, in which site.example is a site on loopback."""
    copy = tmp_path / "datastore"
    shutil.copytree(DATA / "changedetection", copy)
    for file in copy.rglob("*.json"):
        file.write_text(file.read_text("utf-8").replace("site.example/", f"{site.host}/"), "utf-8")
    return copy


@pytest.fixture
def backup(folder: Path) -> Path:
    archive = folder.parent / "changedetection-backup.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for each in folder.rglob("*.json"):
            file.write(each, each.relative_to(folder))
    return archive


def test_a_watch_of_a_backup_runs_as_a_spider(imports: Importer, backup: Path, site: PageSite) -> None:
    tables = imports("changedetection", backup)
    site.pages = {"/lamp": LAMP}
    imports.program.environment["CHANGEDETECTION_NOTIFY"] = "json://127.0.0.1:9/channel"
    imports.checked()
    imports.ran("lamp")
    item, = map(json.loads, imports.program.run("items", "lamp").stdout.splitlines())
    assert item["text"] == "in stock", "without the lines that ignore_text names, in any case"
    lamp = tables["spiders"]["lamp"]
    assert lamp["schedule"] == "every 1h30m"
    assert lamp["tags"] == ["Lamps"]
    assert lamp["headers"] == {"X-Shop": "blue"}
    asked = next(each for each in site.asked if each.path == "/lamp")
    assert asked.headers["Cookie"] == "session=lamp_cookie_session-value"
    assert lamp["watch"]["without"] == ["nav"]
    assert "lamp: trigger_text: use `keywords` or `where` of a digest" in imports.out


def test_steps_in_a_browser_prices_and_pictures_are_carried_over(imports: Importer, folder: Path, site: PageSite) -> None:
    (next(folder.glob("6ac86481*")) / "image_ssim_diff.json").write_text('{"min_change_percentage": 2, "bounding_box": "1,2,3,4", "selection_mode": "draw"}')
    (next(folder.glob("eba78ec3*")) / "restock_diff.json").write_text('{"restock_diff": {"price_change_threshold_percent": 5, "price_change_max": 9.5}}')
    tables = imports("changedetection", folder)
    board = tables["spiders"]["board"]
    assert board["render"] == {"wait_for": ["2s"], "steps": [
        {"click": "#ok", "optional": True}, {"fill": "#q", "value": "pens"}, {"press": "Enter"}, {"wait": "2s"}]}
    assert board["watch"] == {"visual": {"min_change": 0.02}}
    assert "board: bounding_box: `part` selects the element" in imports.out
    assert tables["spiders"]["pen"]["items"]["min_change"] == {"price": "5%"}
    assert "pen: restock_settings: price_change_max: use `where` of a digest" in imports.out
    assert "board: browser_steps: 3 Enter text in field: the value looks like a password" in imports.out
    assert "board: browser_steps: 6 Execute JS: it has no counterpart" in imports.out
    assert tables["proxies"][board["proxy"]] == {"url": "http://127.0.0.1:9", "user": "crawler", "password": {"env": "PROXY_PASSWORD"}}
    site.pages = {"/pen": '<title>Pen</title><script type="application/ld+json">{"@type": "Product", "name": "Pen", "offers": [{"@type": "Offer", '
                          '"price": "3.50", "priceCurrency": "EUR", "availability": "https://schema.org/InStock"}]}</script>'}
    assert "schedule" not in tables["spiders"]["pen"], "the watch is paused"
    imports.ran("pen")
    item, = map(json.loads, imports.program.run("items", "pen").stdout.splitlines())
    assert (item["price"]["amount"], item["price"]["currency"], item["availability"]) == (3.5, "EUR", "https://schema.org/InStock")
    api = next(table for table in tables["spiders"].values() if table["start"] == [f"{site.url}/api"])
    assert api["watch"]["part"] == {"jmes": "[items[*].price, total]"}
    assert api["schedule"] == "every 3h"


def test_notifications_become_recipients_and_channels_without_their_secrets(imports: Importer, backup: Path) -> None:
    tables = imports("changedetection", backup)
    digest = tables["digests"]["changedetection"]
    assert digest["to"] == ["joe@site.example"]
    assert digest["notify"] == [{"env": "CHANGEDETECTION_NOTIFY"}]
    assert "CHANGEDETECTION_NOTIFY: the tgram URL of Apprise" in imports.out
    for secret in ("m4il", "t3legramtoken", "c00kie", "pr0xy", "p4ss"):
        assert secret not in imports.text + imports.out, secret


def test_the_list_of_an_older_version_is_read(imports: Importer, folder: Path) -> None:
    settings = json.loads((folder / "changedetection.json").read_text("utf-8"))
    settings["watching"] = {file.parent.name: json.loads(file.read_text("utf-8")) for file in folder.glob("*/watch.json")}
    settings["settings"]["application"]["tags"] = {file.parent.name: json.loads(file.read_text("utf-8")) for file in folder.glob("*/tag.json")}
    old = folder.parent / "url-watches.json"
    old.write_text(json.dumps(settings), "utf-8")
    was, now = imports("changedetection", old)["spiders"], imports("changedetection", folder, "--name", "new")["spiders"]
    assert {name: (table["spider"], table.get("schedule")) for name, table in was.items()} == {
        name.removesuffix("-2"): (table["spider"], table.get("schedule")) for name, table in now.items()}
    assert was["lamp"]["tags"] == ["Lamps"]


@pytest.mark.needs("chromium")
def test_the_steps_of_a_watch_are_performed_in_a_browser(imports: Importer, site: PageSite, tmp_path: Path) -> None:
    site.pages = {"/": "<title>Board</title><main></main><aside>ad</aside><button id=more onclick=\"this.previousSibling.previousSibling.innerHTML = '<p>one<p>two'\">"
                       "</button>"}
    steps = [{"operation": "Click element", "selector": "#more", "optional_value": ""}]
    watch = {"url": f"{site.url}/", "title": "Board", "fetch_backend": "html_webdriver", "subtractive_selectors": ["aside"], "browser_steps": steps}
    (tmp_path / "url-watches.json").write_text(json.dumps({"watching": {"a": watch}}), "utf-8")
    imports("changedetection", tmp_path / "url-watches.json", "--to", "me@site.example")
    imports.ran("board")
    item, = map(json.loads, imports.program.run("items", "board").stdout.splitlines())
    assert item["text"] == "one\ntwo"
