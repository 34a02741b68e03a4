"""`pipeline mend`: from a redesigned site to rules that work again, as a user meets it."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.atomic_write import replace_file
from pipeline.errors import SettingsError
from pipeline.settings.edit import SpiderEdit
from pipeline.settings.masking import Mask
from tests.servers.pages import PageSite
from tests.servers.program import Program

NAMES = ["Amber", "Birch", "Cobalt", "Dune", "Ember", "Fjord", "Grove", "Haze", "Indigo", "Jade", "Krill", "Lunar"]


def old(names: list[str]) -> str:
    return "<ul>" + "".join(f"<li class=lamp><h3><a href=/lamps/{name.lower()}>{name} lamp</a></h3><p class=price>£{20 + len(name)}.50</p></li>"
                            for name in names) + "</ul>"


def new(names: list[str]) -> str:
    return "<table><tr><th>Price</th><th>Lamp</th></tr>" + "".join(
        f"<tr><td>now £{20 + len(name)}.50</td><td><a href=/lamps/{name.lower()}><b>{name}</b> lamp</a></td></tr>" for name in names) + "</table>"


def settings_for(site: PageSite) -> str:
    return f"""
        # The lamps of our competitor.
        [spiders.lamps]
        start = ["{site.url}/1", "{site.url}/2", "{site.url}/3"]  # all lamps

        [spiders.lamps.items]
        each = "li.lamp"  # one lamp
        key = ["url"]
        fields.title = "h3 a"
        fields.url = "h3 a::attr(href)"
        fields.price = {{ css = ".price", type = "price" }}  # with the currency
    """


def show(site: PageSite, design: Callable[[list[str]], str]) -> None:
    site.pages = {f"/{at // 4 + 1}": design(NAMES[at:at + 4]) for at in range(0, 12, 4)}


def test_a_redesigned_site_is_mended_and_nothing_is_gone_or_new(program: Program, site: PageSite) -> None:
    program.write(settings_for(site))
    show(site, old)
    assert program.run("run", "lamps").returncode == 0
    assert "lamps: the rules still work" in program.run("mend", "lamps").stdout
    show(site, new)
    program.run("run", "lamps")
    last = json.loads(program.run("history", "lamps", "--json").stdout)[0]
    assert last["suspect"]

    shown = program.run("mend", "lamps")
    assert shown.returncode == 0, shown.stderr
    assert '-each = "li.lamp"  # one lamp' in shown.stdout
    assert '+each = "tr"  # one lamp' in shown.stdout
    assert "title 12 of 12, url 12 of 12, price 12 of 12 known values agree on 3 pages" in shown.stdout
    table = [line.split() for line in shown.stdout.splitlines() if line.startswith(("item ", "before ", "after "))]
    assert table[0] == ["item", "title", "url", "price"]
    assert [row[:3] for row in table[1:]] == [[when, name, "lamp"] for name in NAMES[:3] for when in ("before", "after")]
    assert all(len(line) <= 80 for line in shown.stdout.splitlines() if line.startswith(("item ", "before ", "after ")))
    assert "warning" not in shown.stdout
    assert "write this change with `pipeline mend lamps --apply`" in shown.stdout
    before = (program.folder / "settings.toml").read_text("utf-8")

    applied = program.run("mend", "lamps", "--apply")
    assert applied.returncode == 0, applied.stderr
    text = (program.folder / "settings.toml").read_text("utf-8")
    assert (program.folder / "settings.toml.bak").read_text("utf-8") == before
    assert "# The lamps of our competitor." in text
    assert "# all lamps" in text
    done = program.run("run", "lamps")
    assert done.returncode == 0, done.stderr
    run = json.loads(program.run("history", "lamps", "--json").stdout)[0]
    assert (run["suspect"], run["complete"]) == (False, True)
    assert [run["progress"][name] for name in ("new", "changed", "gone", "unchanged")] == [0, 0, 0, 12]


def test_a_field_that_is_empty_in_all_items_is_found_by_the_values_it_had(program: Program, site: PageSite) -> None:
    program.write(settings_for(site))
    show(site, old)
    program.run("run", "lamps")
    show(site, lambda names: old(names).replace("class=price", "class=amount"))
    program.run("run", "lamps")
    assert json.loads(program.run("history", "lamps", "--json").stdout)[0]["suspect"]
    done = program.run("mend", "lamps", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["changes"] == {"items": {"fields": {"price": {"css": ".amount", "type": "price"}}}}


def test_the_fields_of_details_pages_are_found_on_the_details_pages(program: Program, site: PageSite) -> None:
    program.write(settings_for(site) + """
        [spiders.lamps.items.details]
        link = "h3 a"
        fields.watts = { css = ".watts", type = "number" }
    """)

    def details(css: str) -> dict[str, str]:
        return {f"/lamps/{name.lower()}": f"<h1>{name} lamp</h1><dl><dt>Power</dt><dd class={css}>{at + 40} W</dd></dl><p>{at * 7} sold</p>"
                for at, name in enumerate(NAMES)}

    show(site, old)
    site.pages |= details("watts")
    assert program.run("run", "lamps").returncode == 0
    show(site, new)
    site.pages |= details("power")
    done = program.run("mend", "lamps", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["changes"]["items"]
    assert found["each"] == "tr"
    assert found["details"] == {"link": "a", "fields": {"watts": {"css": ".power", "type": "number"}}}


def test_pages_that_robots_txt_forbids_are_not_fetched(program: Program, site: PageSite) -> None:
    program.write(settings_for(site))
    show(site, old)
    program.run("run", "lamps")
    show(site, new)
    site.pages["/robots.txt"] = "User-agent: *\nDisallow: /3\n"
    done = program.run("mend", "lamps")
    assert f"not fetched: {site.url}/3: " in done.stdout
    assert "robots.txt" in done.stdout
    assert "known values agree on 2 pages" in done.stdout


def test_nothing_agrees_and_the_command_says_what_it_tried(program: Program, site: PageSite) -> None:
    program.write(settings_for(site))
    show(site, old)
    program.run("run", "lamps")
    site.pages = dict.fromkeys(("/1", "/2", "/3"), "<div id=root></div><script src=/app.js></script>")
    done = program.run("mend", "lamps", "--apply")
    assert done.returncode == 1
    assert "no new rules for lamps: the 3 pages have none of the values of the 12 known items" in done.stdout
    assert "tried: " in done.stdout
    assert not (program.folder / "settings.toml.bak").exists()


TABLES = {
    "headers": '[spiders.a]\nstart = "http://x.test/"\n[spiders.a.items]\neach = "li" # each\n[spiders.a.items.fields]\n# the name\nname = "b" # name\nurl = "a"\n',
    "dotted keys": '[spiders.a]\nstart = "http://x.test/"\nitems.each = "li" # each\nitems.fields.name = "b" # name\nitems.fields.url = "a"\n',
    "inline": '[spiders]\na = { start = "http://x.test/", items = { each = "li", fields = { name = "b", url = "a" } } } # name\n',
    "quoted": '["spiders".\'a\']\n"start" = "http://x.test/"\n["spiders".a."items"]\n"each" = "li"\nfields = { "name" = "b", url = "a" } # name\n',
    "apart": '[spiders.a.items.fields]\nname = "b" # name\nurl = "a"\n[spiders.b]\nstart = "http://y.test/"\n[spiders.a]\nstart = "http://x.test/"\n[spiders.a.items]\neach = "li"\n',
    "line ends": '[spiders.a]\r\nstart = "http://x.test/"\r\n[spiders.a.items]\r\neach = "li"\r\nfields.name = "b" # name\r\nfields.url = "a"\r\n',
}


@pytest.mark.parametrize("toml", TABLES.values(), ids=TABLES.keys())
def test_a_settings_file_keeps_everything_that_is_not_changed(toml: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(toml.encode())
    path.chmod(0o640)
    edit = SpiderEdit(path, "a", {"items": {"each": {"jmes": "x[]", "data": "json-ld"}, "fields": {"name": "i.new"}}})
    edit.apply()
    text = path.read_bytes().decode()
    expected = tomllib.loads(toml)
    expected["spiders"]["a"]["items"]["each"] = {"jmes": "x[]", "data": "json-ld"}
    expected["spiders"]["a"]["items"]["fields"]["name"] = "i.new"
    assert tomllib.loads(text) == expected
    assert "# name" in text
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_change_that_is_not_valid_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(TABLES["headers"])
    with pytest.raises(SettingsError, match="is not a CSS selector"):
        SpiderEdit(path, "a", {"items": {"each": "li["}}).apply()
    edit = SpiderEdit(path, "a", {"items": {"each": "tr"}})
    path.write_text(TABLES["headers"] + "# somebody edits the file\n")
    with pytest.raises(SettingsError, match="changed in the meantime"):
        edit.apply()


def test_a_spider_in_a_file_of_settings_d_is_changed_there(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("[pipeline]\n")
    (path.parent / "settings.d").mkdir()
    part = path.parent / "settings.d" / "shop.toml"
    part.write_text(TABLES["headers"])
    edit = SpiderEdit(path, "a", {"items": {"each": "tr"}})
    assert edit.diff().startswith("--- settings.d/shop.toml\n+++ settings.d/shop.toml (proposed)\n")
    edit.apply()
    assert 'each = "tr"' in part.read_text()
    assert path.read_text() == "[pipeline]\n"


SECRETS = """[spiders.a]
start = ["https://bob:hunter22@x.test/?api_key=k12345"]
[spiders.a.items]
each = "li"
fields.name = { css = "b", attr = "hunter33" }
[spiders.b]
spider = "watch"
start = "https://bob:hunter22@y.test/"
"""


def test_a_diff_shows_changed_lines_only_and_no_secrets(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(SECRETS)
    shown = SpiderEdit(path, "a", {"items": {"each": "tr"}}).diff()
    assert shown.splitlines()[2:] == ["@@ -4 +4 @@ [spiders.a.items]", '-each = "li"', '+each = "tr"']
    path.write_text('[spiders]\na = { start = ["https://bob:hun\'ter22@x.test/?api_key=k12345"], login = "hunter33", items = { each = "li" } }\n')
    shown = SpiderEdit(path, "a", {"items": {"each": "tr"}}).diff(Mask(("hunter33",)))
    assert '-a = { start = ["https://x.test/?api_key=•••"], login = "****", items = { each = "li" } }' in shown
    assert "ter22" not in shown


def test_a_file_that_is_edited_while_it_is_written_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("a")

    def check() -> None:
        raise ValueError(sorted(entry.name for entry in tmp_path.iterdir())[0][:15])

    with pytest.raises(ValueError, match=r"\.settings\.toml"):
        replace_file(path, b"b", check=check)
    assert [entry.read_text() for entry in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file to another user")
def test_a_changed_settings_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(TABLES["headers"])
    path.chmod(0o640)
    os.chown(path, 12345, 12346)
    copy = SpiderEdit(path, "a", {"items": {"each": "tr"}}).apply()
    for found in (path.stat(), copy.stat()):
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (12345, 12346, 0o640)
