"""Tests of the page of the settings of a running service."""

from __future__ import annotations

import requests
from lxml import html

from tests.servers.pages import PageSite
from tests.servers.program import Program, eventually

SETTINGS = """
    [spiders.shop]
    start = "{url}/"
    robots = false
    headers = {{ X-Key = {{ env = "SHOP_KEY" }} }}
    items.fields.name = "h1"
    [proxies]
    office = "http://me:pr0xy-pass@127.0.0.1:9"
    """


def test_the_page_shows_masked_values_and_a_reload_says_what_it_has_done(program: Program, site: PageSite) -> None:
    program.environment["SHOP_KEY"] = "s3cret-key"
    program.write(SETTINGS.format(url=site.url))
    program.serve()
    token = eventually(lambda: (program.data / "heartbeat-token").read_text().strip(), within_s=20)
    base, head = f"http://127.0.0.1:{program.port}", {"Authorization": f"Bearer {token}"}

    def rows(query: str = "") -> dict[str, tuple[str, str]]:
        page = html.fromstring(requests.get(f"{base}/settings{query}", headers=head, timeout=10).text)
        return {row.findtext("th"): (row.xpath("string(td[1])"), row.xpath("string(td[2])")) for row in page.xpath("//tbody/tr")}

    def reload() -> str:
        answer = requests.post(f"{base}/settings/reload", headers=head, timeout=20)
        return " ".join(" ".join(html.fromstring(answer.text).xpath("//section[@role='status']//text()")).split())

    assert requests.get(f"{base}/settings", timeout=10).status_code in (401, 403)
    assert requests.post(f"{base}/settings/reload", timeout=10).status_code in (401, 403)
    found = rows()
    assert found["spiders.shop.start"] == (f'"{site.url}/"', "settings.toml")
    assert found["proxies.office"][0] == '"http://me:****@127.0.0.1:9"'
    assert "spiders.shop.timeout" not in found
    assert "s3cret-key" not in requests.get(f"{base}/settings?defaults=on", headers=head, timeout=10).text
    assert rows("?defaults=on")["spiders.shop.timeout"][1] == "default"
    assert list(rows("?q=SHOP.start")) == ["spiders.shop.start"]
    assert rows("?q=pr0xy-pass") == {}  # a search does not find secrets

    assert reload() == "The settings were reloaded; nothing has changed."
    settings = program.folder / "settings.toml"
    good = settings.read_text("utf-8")
    settings.write_text(good.replace("robots = false", 'robots = false\ndelay = "2s"').replace("[heartbeat]\n", "[heartbeat]\nudp = true\n"), "utf-8")
    assert reload() == ("The settings were reloaded. In use now: spiders.shop.delay These changes wait for a restart of the service: heartbeat.udp")
    settings.write_text(good.replace("robots", "robotz"), "utf-8")
    said = reload()
    assert said.startswith("The settings were not reloaded. The earlier ones stay in use:")
    assert "spiders.shop.robotz: unknown key" in said
    assert program.stop() == 0
