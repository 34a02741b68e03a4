"""What mail clients make of our HTML (the data of Can I email), and whether it is valid (html-validate): every digest and
alert that `benchmarks.mail_looks` shows. What some client does not do is listed with the reason why it may stay.

    python -m benchmarks.mail_lint          # needs node and npm, which fetches the two packages
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lxml.html

from benchmarks.mail_looks import html_of_all

PACKAGES = ("caniemail@1.0.5", "html-validate@10.17.0")
_EXTRA = "only makes better what reads without it"
REASONS = {
    "css-at-media": "without it phones see wider margins and everybody the light colours",
    "css-at-media-prefers-color-scheme": "the light colours are complete, and a client that darkens by itself may",
    "css-background-color": "some know named colours only: the card is white on white, and reads",
    "css-border": "Outlook on Windows: unreliable on blocks; the lines between items may be missing",
    "css-display": "partly: without flex and grid; a chart is a block, and else stands on a line of its own all the same",
    "css-font-size": "partly: without rem or per cent; ours are px",
    "css-font-weight": "partly: 600 is bold, or one of the hundreds; ours are hundreds",
    "css-height": "of charts, which have it as an attribute, too",
    "css-important": "only in the rules for dark and phones, which these clients leave out whole",
    "css-line-height": "Outlook on Windows wants mso-line-height-rule: exactly, and gets it",
    "css-margin": "partly: without negative ones and auto; we have neither",
    "css-max-width": "Outlook on Windows knows it on tables, and the card is one; phones that do not are narrower than it",
    "css-overflow": "of a scraped table that is wider than the screen: without it the card gets wider",
    "css-overflow-wrap": "word-break does the same where it is known; elsewhere a very long word widens the card",
    "css-padding": "Outlook on Windows: in cells only; the card and the box have theirs in cells, items stand closer",
    "css-text-align": "partly: without start and end; ours are left",
    "css-text-decoration": "a removed text is red, an added one green, a link blue in any case; partly: its colour and style",
    "css-white-space": "of a log's lines and of scraped pre: they are one paragraph",
    "css-width": "Outlook on Windows: not of blocks and pictures; charts have it as an attribute",
    "css-word-break": "see overflow-wrap",
    "html-align": "partly: of pictures, or left and right; ours is the centre of a cell",
    "html-body": "replaced by an element of the client's own: the table around the card has the colours, too",
    "html-dir": "auto, " + _EXTRA,
    "html-lang": _EXTRA,
    "html-meta-color-scheme": _EXTRA,
    "html-style": "all but the rules for dark and phones is inline",
}
"""By feature that some client does not have: what is seen there, or why it does not matter."""
RULES = {
    "no-deprecated-attr": "width, cellpadding and border of the layout tables: Outlook on Windows reads no others",
    "no-inline-style": "many clients drop <style>: everything is inline",
    "wcag/h63": "headers of a scraped table are as its page has them",
}
"""html-validate's rules that we break on purpose, and why."""
JUDGED = frozenset(REASONS) | {
    "css-border-bottom", "css-border-bottom-color", "css-border-left", "css-border-left-color", "css-color",
    "css-font-family", "css-mso-line-height-rule", "css-unit-px", "css-vertical-align", "html-a", "html-aria-role", "html-b", "html-del",
    "html-div", "html-em", "html-h1", "html-h2", "html-head", "html-html", "html-img", "html-ins", "html-li",
    "html-meta", "html-p", "html-pre", "html-span", "html-strong", "html-table", "html-tbody", "html-td", "html-th",
    "html-title", "html-tr", "html-ul",
}
"""Every feature our mails use: what is new here has been looked at."""
_PROPERTY = re.compile(r"(?:^|[;{\s])([a-z-]+)\s*:")
_VALIDATE = """
import { readFileSync } from 'node:fs';
import { HtmlValidate } from 'html-validate';
const validator = new HtmlValidate({ extends: ['html-validate:recommended'] });
for (const file of process.argv.slice(2)) {
  const report = await validator.validateString(readFileSync(file, 'utf8'), file);
  for (const result of report.results) for (const found of result.messages)
    console.log(JSON.stringify([file, found.ruleId, found.message, found.line]));
}
"""


def features_of(pages: Iterable[str]) -> set[str]:
    """Slugs of Can I email for every element, CSS property and at-rule that is used."""
    found = set()
    for page in pages:
        document = lxml.html.document_fromstring(page)
        found |= {f"html-{element.tag}" for element in document.iter() if isinstance(element.tag, str)}
        found |= {"html-dir"} if document.xpath("//@dir") else set()
        found |= {"html-lang"} if document.xpath("//@lang") else set()
        found |= {"html-aria-role"} if document.xpath("//@role") else set()
        found |= {"html-align"} if document.xpath("//@align") else set()
        found |= {"html-meta-color-scheme"} if document.xpath("//meta[@name='color-scheme']") else set()
        sheets = document.xpath("//style/text()")
        for style in (*document.xpath("//@style"), *sheets):
            found |= {f"css-{name}" for name in _PROPERTY.findall(style)}
        for sheet in sheets:
            if "@media" in sheet:
                found |= {"css-at-media", "html-style"}
            if "prefers-color-scheme" in sheet:
                found.add("css-at-media-prefers-color-scheme")
            if "!important" in sheet:
                found.add("css-important")
        found |= {"css-unit-px"} if "px" in page else set()
    return found


def unsupported(feature: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Clients whose newest version does not support it, and those that do in part."""
    none, partly = [], []
    for family, platforms in feature["stats"].items():
        for platform, versions in platforms.items():
            newest = list(versions.values())[-1] if versions else "u"
            if newest.startswith("n"):
                none.append(f"{family}.{platform}")
            elif newest.startswith("a"):
                partly.append(f"{family}.{platform}")
    return none, partly


def main() -> int:
    if shutil.which("npm") is None:
        print("skipped: needs node and npm")
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES],
                       cwd=folder, check=True, capture_output=True, timeout=300)
        pages = html_of_all(folder)
        data = json.loads((folder / "node_modules/caniemail/data/caniemail.json").read_text("utf-8"))
        known = {feature["slug"]: feature for feature in data["data"]}
        used = features_of(path.read_text("utf-8") for path in pages.values())
        print(f"{len(pages)} mails use {len(used)} features, {len(used & known.keys())} of them in the data of {data['last_update_date'][:10]}")
        unexplained = len(used - JUDGED)
        print(f"not judged yet: {', '.join(sorted(used - JUDGED)) or 'none'}")
        for slug in sorted(used & known.keys()):
            none, partly = unsupported(known[slug])
            if none or partly:
                unexplained += slug not in REASONS
                print(f"{slug}: not in {len(none)}, partly in {len(partly)}: {REASONS.get(slug, 'NO REASON: ' + ' '.join(none + partly))}")
        unexplained += validate(folder, [str(path) for path in pages.values()])
    print("unexplained: " + (str(unexplained) if unexplained else "none"))
    return 1 if unexplained else 0


def validate(folder: Path, pages: list[str]) -> int:
    """Print what html-validate says; how many rules are broken without a reason."""
    (folder / "validate.mjs").write_text(_VALIDATE)
    said = subprocess.run(["node", "validate.mjs", *pages], cwd=folder, check=True, capture_output=True, text=True, timeout=300).stdout
    by_rule: dict[str, list[Any]] = {}
    for line in said.splitlines():
        file, rule, message, at = json.loads(line)
        by_rule.setdefault(rule, []).append((Path(file).stem, at, message))
    for rule, found in sorted(by_rule.items()):
        name, at, message = found[0]
        print(f"html-validate {rule}: {len(found)} in {len({one[0] for one in found})} mails, as {name}:{at} {message!r}: "
              f"{RULES.get(rule, 'NO REASON')}")
    return len(by_rule.keys() - RULES.keys())


if __name__ == "__main__":
    sys.exit(main())
