"""JSON-LD, microdata and OpenGraph of pages: ours beside extruct's.

    uv pip install extruct; python -m benchmarks.libraries.embedded_data

CPU time of a page of a shop with 200 products (median of five), peak memory of a process that reads such a page, and what each
reads of pages as they occur.
"""

# ruff: noqa: PLC0415  each process imports only the library that it measures
from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.crawl.extract import CompiledRule, Document
from pipeline.settings import SelectorTable

URL = "http://site.example/dir/page"
PRODUCT = """<div itemscope itemtype="https://schema.org/Product"><a itemprop="url" href="/p/{0}"><h2 itemprop="name">Product {0}</h2></a>
<img itemprop="image" src="/i/{0}.jpg"><div itemprop="offers" itemscope itemtype="https://schema.org/Offer">
<span itemprop="price" content="{0}.90">{0},90</span><link itemprop="availability" href="https://schema.org/InStock"></div>
<p itemprop="description">{1}</p></div>
<script type="application/ld+json">{{"@context":"https://schema.org","@type":"Product","name":"Product {0}","offers":{{"price":{0}}}}}</script>"""
SHOP = "<html><head><meta property='og:title' content='Shop'></head><body>" + "".join(
    PRODUCT.format(number, "words about it " * 20) for number in range(200)) + "</body></html>"

CASES = {  # what is read: (page, kind, what a rule wants, the right value)
    "a JSON-LD script": ('<script type="application/ld+json">{"@type":"Product","name":"P"}</script>', "json-ld", "[].name", ["P"]),
    "a comma too many": ('<script type="application/ld+json">{"name":"P",}</script>', "json-ld", "[].name", ["P"]),
    "two objects in one script": ('<script type="application/ld+json">{"name":"P"}\n{"name":"Q"}</script>', "json-ld", "[].name", ["P", "Q"]),
    "@graph": ('<script type="application/ld+json">{"@graph":[{"name":"P"}]}</script>', "json-ld", "[].name", ["P"]),
    "a comment around the script": ('<script type="application/ld+json"><!--\n{"name":"P"}\n--></script>', "json-ld", "[].name", ["P"]),
    "CDATA around the script": ('<script type="application/ld+json">//<![CDATA[\n{"name":"P"}\n//]]></script>', "json-ld", "[].name", ["P"]),
    "type with charset": ('<script type="application/ld+json; charset=utf-8">{"name":"P"}</script>', "json-ld", "[].name", ["P"]),
    "escaped quotes": ('<script type="application/ld+json">{&quot;name&quot;:&quot;P&quot;}</script>', "json-ld", "[].name", ["P"]),
    "one broken script of two": ('<script type="application/ld+json">{"name": "a "b" c"}</script>'  # noqa: ISC004
                                 '<script type="application/ld+json">{"name":"P"}</script>', "json-ld", "[].name", ["P"]),
    "microdata": ("<div itemscope><b itemprop=name>P</b></div>", "microdata", "[].name", ["P"]),
    "content on a span": ('<div itemscope><span itemprop=price content="49.90">49,90</span></div>', "microdata", "[].price", ["49.90"]),
    "meter, data and time": ("<div itemscope><meter itemprop=a value=4.5>x</meter><data itemprop=b value=1>y</data><time itemprop=c>2 May</time></div>",
                             "microdata", "[].[a, b, c][]", ["4.5", "1", "2 May"]),
    "itemref": ("<div itemscope itemref=m></div><p id=m itemprop=color>red</p>", "microdata", "[].color", ["red"]),
    "itemref to itself": ('<div itemscope itemref="b" id=a><p id=b itemprop=x itemscope itemref=b><i itemprop=y>z</i></p></div>', "microdata", "[].x.y", ["z"]),
    "relative links, base": ('<base href="/b/"><div itemscope><a itemprop=url href="x y">t</a></div>', "microdata", "[].url", ["http://site.example/b/x%20y"]),
    "nesting of 20,000": ("<div itemscope><b itemprop=n>P</b>" + "<div itemscope itemprop=a>" * 20_000, "microdata", "[].n", ["P"]),
    "OpenGraph": ('<meta property="og:title" content="T">', "opengraph", '"og:title"', ["T"]),
    "name for property": ('<meta name="og:title" content="T">', "opengraph", '"og:title"', ["T"]),
    "two properties in one": ('<meta property="og:image twitter:image" content=i>', "opengraph", '"twitter:image"', ["i"]),
}


def ours(page: str, kind: str, wanted: str) -> list[Any]:
    document = Document(url=URL, status=200, text=page, headers=dict)
    return CompiledRule(SelectorTable(data=kind, jmes=wanted)).values(document)  # type: ignore[arg-type]


def theirs(page: str, kind: str, wanted: str) -> list[Any]:
    import extruct
    import jmespath
    from w3lib.html import get_base_url

    found = extruct.extract(page, base_url=get_base_url(page, URL), syntaxes=[kind], uniform=False, errors="log")[kind]
    if kind == "microdata":
        found = [each.get("properties", {}) for each in found]
    if kind == "opengraph":
        found = {name: value for each in found for name, value in each["properties"]}
    values = jmespath.search(wanted, found)
    return [value for value in (values if isinstance(values, list) else [values]) if value is not None]


READERS = {"ours": ours, "extruct": theirs}


def outcome(reader: str, name: str) -> str:
    """Run one case in a process of its own, since some do not end or end the process."""
    code = (f"import benchmarks.libraries.embedded_data as e, json, logging; logging.disable(); page, kind, wanted, right = e.CASES[{name!r}]\n"
            f"found = e.READERS[{reader!r}](page, kind, wanted); print('right' if found == right else 'wrong: ' + json.dumps(found))")
    try:
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return "no end after 60 s"
    return done.stdout.strip()[:60] if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"signal {-done.returncode}"])[-1][:70]


def cost(reader: str) -> None:
    """Print the CPU time of a page in ms, and the memory that reading it needs in MB."""
    read, took = READERS[reader], []
    kinds = {"json-ld": "length(@)", "microdata": "length(@)", "opengraph": '"og:title"'}
    assert [read(SHOP, kind, "[].name" if kind != "opengraph" else '"og:title"') for kind in ("json-ld", "microdata")]
    for _ in range(5):
        began = time.process_time()
        if reader == "ours":
            document = Document(url=URL, status=200, text=SHOP, headers=dict)
            for kind, wanted in kinds.items():
                CompiledRule(SelectorTable(data=kind, jmes=wanted)).values(document)  # type: ignore[arg-type]
        else:
            import extruct

            extruct.extract(SHOP, base_url=URL, syntaxes=list(kinds), uniform=False)
        took.append(time.process_time() - began)
    peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1000
    print(json.dumps([statistics.median(took) * 1000, peak]))


def main() -> None:
    if len(sys.argv) > 1:
        cost(sys.argv[1])
        return
    for name in CASES:
        print(f"{name:30}" + "".join(f"{reader}: {outcome(reader, name):40}" for reader in READERS))
    for reader in READERS:
        done = subprocess.run([sys.executable, "-m", "benchmarks.libraries.embedded_data", reader], capture_output=True, text=True, check=True)
        cpu, peak = json.loads(done.stdout.splitlines()[-1])
        print(f"{reader:10}{cpu:7.1f} ms of CPU a page of {len(SHOP) / 1000:.0f} kB, peak {peak:.0f} MB")


if __name__ == "__main__":
    main()
