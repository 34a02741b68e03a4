"""Pictures of pages compared: ours on Pillow beside five other libraries.

The others are pixelmatch, blazediff, odiff, libvips and imagehash.

    python -m benchmarks.libraries.pictures [--odiff PROGRAM]

Needs chromium, which renders the pages: 1280 x 800 and 1280 x 6000 pixels, of which one price changes. CPU time, peak memory beyond the
imports, and the number of changed pixels, each in a process of its own, from PNG files to the result. Libraries that are not installed
are left out.
"""

# ruff: noqa: PLC0415  each process imports only the library that it measures
from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

THRESHOLD = 0.1
PAGE = """<!doctype html><meta charset=utf-8><style>body {{ margin: 0; font: 16px/1.5 sans-serif }} header {{ background: #234; color: #fff; padding: 20px }}
main {{ display: flex; flex-wrap: wrap }} div {{ width: 280px; margin: 10px; padding: 10px; border: 1px solid #ccc }}</style><header><h1>Shop</h1></header><main>{}</main>"""
CARD = "<div><h2>Item {number}</h2><p>A description of item {number} that is long enough for two lines.</p><b>{price}</b></div>"


def render(folder: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for height, cards in ((800, 40), (6000, 140)):
            page = browser.new_page(viewport={"width": 1280, "height": height})
            for name, price in (("before", "10 EUR"), ("after", "SOLD OUT")):
                page.set_content(PAGE.format("".join(CARD.format(number=number, price=price if number == 7 else "10 EUR") for number in range(cards))))
                page.screenshot(path=folder / f"{height}-{name}.png")
        browser.close()


def ours(before: str, after: str) -> int:
    from pipeline.pixel_difference import difference, opened

    return difference(opened(Path(before).read_bytes()), opened(Path(after).read_bytes()), threshold=THRESHOLD).pixels


def pixelmatch(before: str, after: str) -> int:
    from PIL import Image
    from pixelmatch.contrib.PIL import pixelmatch as compare

    return int(compare(Image.open(before).convert("RGBA"), Image.open(after).convert("RGBA"), threshold=THRESHOLD, includeAA=True))


def blazediff(before: str, after: str) -> int:
    import blazediff as library

    return int(library.compare(before, after, threshold=THRESHOLD, antialiasing=False).diff_count)


def vips(before: str, after: str) -> int:
    import pyvips

    distance = pyvips.Image.new_from_file(before).colourspace("lab").dE00(pyvips.Image.new_from_file(after).colourspace("lab"))
    changed = distance > 100 * THRESHOLD
    return round(changed.avg() / 255 * changed.width * changed.height)


def imagehash(before: str, after: str) -> int:
    import imagehash as library
    from PIL import Image

    return int(library.phash(Image.open(before)) - library.phash(Image.open(after)))


LIBRARIES: dict[str, Callable[[str, str], int]] = {"ours": ours, "pixelmatch": pixelmatch, "blazediff": blazediff, "vips": vips, "imagehash": imagehash}


def measure(library: str, before: str, after: str) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, wall = time.process_time(), time.perf_counter()
    pixels = LIBRARIES[library](before, after)
    print(f"{time.process_time() - began:.2f} s of CPU, {time.perf_counter() - wall:.2f} s, "
          f"{(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1000:.0f} MB, {pixels}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare pictures of pages.")
    parser.add_argument("--odiff", default="")
    parser.add_argument("one", nargs="*")
    arguments = parser.parse_args()
    if arguments.one:
        measure(*arguments.one)
        return
    with tempfile.TemporaryDirectory() as folder:
        render(Path(folder))
        for height in (800, 6000):
            files = [f"{folder}/{height}-{name}.png" for name in ("before", "after")]
            for library in LIBRARIES:
                done = subprocess.run([sys.executable, "-m", "benchmarks.libraries.pictures", library, *files], capture_output=True, text=True, check=False)
                print(f"1280 x {height}, {library}: {done.stdout.strip() or done.stderr.strip().splitlines()[-1]}", flush=True)
            if arguments.odiff:
                began = resource.getrusage(resource.RUSAGE_CHILDREN)
                wall = time.perf_counter()
                done = subprocess.run([arguments.odiff, *files, f"{folder}/out.png", "--parsable-stdout"], capture_output=True, text=True, check=False)
                ended = resource.getrusage(resource.RUSAGE_CHILDREN)
                print(f"1280 x {height}, odiff: {ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime:.2f} s of CPU, "
                      f"{time.perf_counter() - wall:.2f} s, {done.stdout.strip()}")


if __name__ == "__main__":
    main()
