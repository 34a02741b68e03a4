"""Name the type of a file in the language of the reader, such as "PDF document" or "ZIP archive"."""

from __future__ import annotations

import mimetypes
import re
from pathlib import PurePath

from pipeline.languages import Wording

_EXTENSIONS: dict[str, dict[str, str]] = {
    "archive": {"zip": "ZIP", "tar": "TAR", "gz": "GZIP", "tgz": "TAR", "bz2": "BZIP2", "xz": "XZ", "zst": "Zstandard", "7z": "7-Zip",
                "rar": "RAR", "warc": "WARC", "cab": "CAB"},
    "audio": {"mp3": "MP3", "m4a": "AAC", "aac": "AAC", "ogg": "Ogg", "oga": "Ogg", "opus": "Opus", "flac": "FLAC", "wav": "WAV",
              "wma": "WMA", "mid": "MIDI", "midi": "MIDI"},
    "calendar": {"ics": ""},
    "data": {"json": "JSON", "jsonl": "JSON Lines", "ndjson": "JSON Lines", "geojson": "GeoJSON", "xml": "XML", "rss": "RSS", "atom": "Atom",
             "yaml": "YAML", "yml": "YAML", "toml": "TOML", "parquet": "Parquet", "sqlite": "SQLite", "db": "SQLite", "sql": "SQL",
             "kml": "KML", "gpx": "GPX", "shp": "Shapefile"},
    "disk_image": {"iso": "ISO", "img": "IMG", "dmg": "DMG", "vhd": "VHD", "vmdk": "VMDK"},
    "document": {"pdf": "PDF", "doc": "Word", "docx": "Word", "docm": "Word", "dot": "Word", "dotx": "Word", "odt": "OpenDocument",
                 "rtf": "RTF", "pages": "Pages", "tex": "LaTeX", "ps": "PostScript", "djvu": "DjVu", "xps": "XPS"},
    "e_book": {"epub": "EPUB", "mobi": "Mobipocket", "azw3": "Kindle", "fb2": "FictionBook", "cbz": "CBZ", "cbr": "CBR"},
    "font": {"ttf": "TrueType", "otf": "OpenType", "woff": "WOFF", "woff2": "WOFF2"},
    "mail": {"eml": "", "msg": "", "mbox": ""},
    "picture": {"jpg": "JPEG", "jpeg": "JPEG", "jpe": "JPEG", "png": "PNG", "gif": "GIF", "webp": "WebP", "avif": "AVIF", "svg": "SVG",
                "bmp": "BMP", "tif": "TIFF", "tiff": "TIFF", "heic": "HEIC", "heif": "HEIF", "ico": "ICO", "jxl": "JPEG XL", "psd": "Photoshop"},
    "presentation": {"ppt": "PowerPoint", "pptx": "PowerPoint", "pptm": "PowerPoint", "pps": "PowerPoint", "ppsx": "PowerPoint",
                     "odp": "OpenDocument", "key": "Keynote"},
    "program": dict.fromkeys(("exe", "msi", "bat", "cmd", "com", "scr", "ps1", "sh", "js", "vbs", "jar", "apk", "deb", "rpm", "appimage",
                              "dll", "py"), ""),
    "spreadsheet": {"xls": "Excel", "xlsx": "Excel", "xlsm": "Excel", "xlsb": "Excel", "xltx": "Excel", "ods": "OpenDocument", "numbers": "Numbers"},
    "table": {"csv": "CSV", "tsv": "TSV", "tab": "TSV"},
    "text": dict.fromkeys(("txt", "text", "log", "md", "markdown", "rst"), ""),
    "video": {"mp4": "MP4", "m4v": "MP4", "mkv": "Matroska", "webm": "WebM", "mov": "QuickTime", "avi": "AVI", "mpg": "MPEG", "mpeg": "MPEG",
              "ogv": "Ogg", "wmv": "WMV", "flv": "FLV", "3gp": "3GP"},
    "web_page": dict.fromkeys(("html", "htm", "xhtml", "mhtml"), ""),
}
"""By the key of a text in `Wording.file_types`: the formats by file name extension."""
_KINDS = {extension: (kind, name) for kind, formats in _EXTENSIONS.items() for extension, name in formats.items()}
_MEDIA_TYPES = {
    "application/x-zip-compressed": "zip", "application/x-gzip": "gz", "application/x-rar-compressed": "rar", "application/vnd.rar": "rar",
    "application/x-7z-compressed": "7z", "application/epub+zip": "epub", "application/x-pdf": "pdf", "text/xml": "xml", "text/json": "json",
    "application/x-ndjson": "jsonl", "application/jsonl": "jsonl", "application/geo+json": "geojson", "application/rss+xml": "rss",
    "application/atom+xml": "atom", "image/jpg": "jpg", "image/webp": "webp", "image/avif": "avif", "image/heic": "heic", "text/markdown": "md",
    "text/calendar": "ics", "message/rfc822": "eml", "application/xhtml+xml": "html", "application/x-sqlite3": "sqlite",
    **{f"application/vnd.openxmlformats-officedocument.{kind}": extension for kind, extension in (
        ("wordprocessingml.document", "docx"), ("spreadsheetml.sheet", "xlsx"), ("presentationml.presentation", "pptx"))},
    **{f"application/vnd.oasis.opendocument.{kind}": extension for kind, extension in (
        ("text", "odt"), ("spreadsheet", "ods"), ("presentation", "odp"))},
    "audio/mp3": "mp3", "audio/ogg": "ogg", "application/ogg": "ogg", "video/webm": "webm", "video/x-matroska": "mkv",
}
"""Media types that Python's table lacks, or for which it has a less usual extension."""
_BUILT_IN = mimetypes.MimeTypes(filenames=())
_SHOWN_EXTENSION = re.compile(r"[A-Za-z0-9]{1,8}")


def file_type(name: str, media_type: str, words: Wording) -> str:
    """Return the type of a file as a reader calls it.

    The extension of the name decides, because web servers often send a general media type. A file that the server sent as a web page
    is called a web page nevertheless: it may be an error page instead of the file.
    """
    extension = PurePath(name).suffix[1:].lower()
    sent = media_type.partition(";")[0].strip().lower()
    found = _of_media_type(sent)
    if (found is None or found[0] != "web_page") and extension in _KINDS:
        found = _KINDS[extension]
    if found is not None:
        text = words.file_types[found[0]]
        return text.format(format=found[1].replace(" ", "-") if "{format}-" in text else found[1])  # "JSON-Lines-Daten" in German
    if _SHOWN_EXTENSION.fullmatch(extension):
        return words.file_types["file"].format(format=extension.upper())
    return words.file_types["unknown"]


def kind_of_extension(path: str) -> str | None:
    """Return the kind of file, a key of `Wording.file_types`, by the extension of a path; None if the extension is not known."""
    found = _KINDS.get(PurePath(path).suffix[1:].lower())
    return found[0] if found is not None else None


def _of_media_type(sent: str) -> tuple[str, str] | None:
    if sent == "application/octet-stream":
        return None
    extensions = [_MEDIA_TYPES[sent]] if sent in _MEDIA_TYPES else [each[1:] for each in _BUILT_IN.guess_all_extensions(sent)]
    return next((_KINDS[extension] for extension in extensions if extension in _KINDS), None)
