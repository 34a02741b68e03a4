"""Check the HTML of mails.

Which clients lack a feature it uses (data of Can I email), and whether it is valid.

The mails are those of `benchmarks.mail_looks`; html-validate checks them. A feature that some client lacks needs a reason in
tests/mail/html_features.py.

    python -m benchmarks.mail_lint          # needs node and npm, which fetches the two packages
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.mail_looks import html_of_all
from tests.mail.html_features import JUDGED, REASONS, features_of

PACKAGES = ("caniemail@1.0.5", "html-validate@10.17.0")
RULES = {
    "no-deprecated-attr": "width, cellpadding and border of the layout tables: Outlook on Windows reads no others; the name of an anchor: Gmail and Outlook know no other target",
    "no-inline-style": "many clients drop <style>: everything is inline",
    "wcag/h63": "headers of a scraped table are as its page has them",
}
"""Rules of html-validate that the mails break on purpose, and why."""
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
