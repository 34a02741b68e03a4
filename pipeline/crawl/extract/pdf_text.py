"""Convert a PDF to an HTML page with its text.

This module is a script that runs in a separate process. A PDF is untrusted input for a large parser written in C. In a separate
process the parser can neither delay or crash the crawl nor use up its memory.
"""

from __future__ import annotations

import html
import resource
import sys

MAX_PAGES = 2000
MAX_CHARACTERS = 10**7
MEMORY_BYTES = 10**9
CPU_S = 20


def page_of(data: bytes) -> str:
    """Return HTML with a `<section id="page-N">` for each page of the PDF and a `<p>` for each line.

    Raise ValueError if the data is not a PDF or the PDF has a password.
    """
    import pypdfium2  # noqa: PLC0415  an optional dependency

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        raise ValueError(str(error)) from error
    title = document.get_metadata_value("Title")
    sections, room = [], MAX_CHARACTERS
    for number in range(min(len(document), MAX_PAGES)):
        text = document[number].get_textpage().get_text_bounded()[:room]
        room -= len(text)
        lines = (" ".join(line.split()) for line in text.replace("\ufffe", "").splitlines())
        sections.append(f'<section id="page-{number + 1}">\n'
                        + "".join(f"<p>{html.escape(line)}</p>\n" for line in lines if line) + "</section>\n")
    return f'<!doctype html><meta charset="utf-8"><title>{html.escape(title)}</title>\n{"".join(sections)}'


def main() -> None:
    """Convert the PDF on stdin to HTML on stdout. Report an error as one line on stderr, with exit code 1."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    try:
        sys.stdout.buffer.write(page_of(sys.stdin.buffer.read()).encode("utf-8", "replace"))
    except (ValueError, MemoryError) as error:
        sys.exit(str(error) or type(error).__name__)


if __name__ == "__main__":
    main()
