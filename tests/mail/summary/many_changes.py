"""Two hundred changes of fifteen spiders, as the crawls of two days leave them in the store."""

from __future__ import annotations

from typing import Any

from tests.mail.conftest import Site

SHOPS = ("cards_and_chips", "hobby_market", "kellermann", "outlet_north", "photo_corner")
CALLS = ("acm_calls", "ieee_calls", "open_source_events", "regional_meetups", "usenix_calls")
NOTICES = ("city_notices", "court_register", "grants", "procurement", "standards")
SPIDERS = (*SHOPS, *CALLS, *NOTICES)
PRODUCTS = ("Graphics card RX 9070", "Mini PC N150", "Mirrorless camera body", "Ultrawide monitor 34″", "NVMe drive 4 TB", "Mechanical keyboard",
            "E-reader 7.8″", "USB-C dock", "Noise-cancelling headphones", "Studio microphone")
EVENTS = ("Workshop on Web Archiving", "Conference on Data Journalism", "Symposium on Crawling at Scale", "Summer School on Search", "Meetup: Python and Scraping",
          "Congress on Open Government", "Days of Free Software", "Seminar on Language Models", "Forum on Digital Evidence", "Colloquium on Compliance")
CITIES = ("Leipzig", "Ghent", "Porto", "Osaka", "Montréal", "Kraków", "Nairobi", "Lyon")


def fill(site: Site) -> None:
    """Let each spider run twice: the first run of each is what a digest has told, the second one has the 200 changes."""
    first = {spider: _items(number, spider, later=False) for number, spider in enumerate(SPIDERS)}
    for spider, items in first.items():
        site.run(items, spider=spider)


def fill_again(site: Site) -> None:
    for number, spider in enumerate(SPIDERS):
        site.run(_items(number, spider, later=True), spider=spider)


def _items(number: int, spider: str, *, later: bool) -> dict[str, dict[str, Any]]:
    if spider in SHOPS:
        return _products(number, later=later)
    return _events(number, later=later) if spider in CALLS else _notices(number, later=later)


def _products(number: int, *, later: bool) -> dict[str, dict[str, Any]]:
    """Ten products: five get cheaper or dearer, two are new, two are gone. Of the first shop, one is half the price."""
    items = {}
    for place, name in enumerate(PRODUCTS):
        price = 100 + 37 * place + 11 * number
        if (later and place >= 8) or (not later and place in (6, 7)):
            continue
        if later and place < 5:
            price = price // 2 if place == number else price + (5 if place % 2 else -4)
        items[f"{place}"] = {"title": name, "price": f"{price}.00 €", "stock": "in stock" if place % 3 else "2 left", "url": f"https://shop{number}.example/p/{place}"}
    return items


def _events(number: int, *, later: bool) -> dict[str, dict[str, Any]]:
    """Sixteen calls, of which fourteen are new, and two have a later deadline."""
    found = range(16) if later else range(2)
    return {f"{n}": {"title": f"{EVENTS[(n + number) % 10]} {2027 + n // 10}", "place": CITIES[(n * 3 + number) % 8], "deadline": f"2027-0{1 + n % 6}-{10 + number + (later and n < 2) * 7}",
                     "url": f"https://calls{number}.example/{n}"} for n in found}


def _notices(number: int, *, later: bool) -> dict[str, dict[str, Any]]:
    """Fifteen notices: eleven are new, four get another text."""
    found = range(15) if later else range(4)
    return {f"{n}": {"title": f"Notice {number}-{n}: {('Road works', 'Building permit', 'Public hearing', 'Tender', 'Amendment')[n % 5]}",
                     "text": f"The period for comments ends on {12 + n + (later and n < 4) * 3} January 2027." + (" Entrance is free." if n % 7 == 3 else ""),
                     "url": f"https://notices{number}.example/{n}"} for n in found}
