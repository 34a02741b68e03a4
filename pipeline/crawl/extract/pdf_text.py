"""Convert a PDF to an HTML page of its text; a program of its own, run in a separate process.

A PDF is untrusted input for a large parser written in C. In a process of its own the parser can neither delay the crawl,
nor fill its memory, nor crash it.
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
    """HTML with a `section#page-1` and so on, and a `p` for each line. Raises ValueError for no PDF, or one with a password."""
    import pypdfium2  # noqa: PLC0415  an extra

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
    """Convert stdin to stdout. An error is one line on stderr, with exit code 1."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    try:
        sys.stdout.buffer.write(page_of(sys.stdin.buffer.read()).encode("utf-8", "replace"))
    except (ValueError, MemoryError) as error:
        sys.exit(str(error) or type(error).__name__)


if __name__ == "__main__":
    main()
