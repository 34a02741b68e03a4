"""Makes small PNG pictures of one colour."""

from __future__ import annotations

import io

from PIL import Image


def png(width: int, height: int, colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, "PNG")
    return file.getvalue()
