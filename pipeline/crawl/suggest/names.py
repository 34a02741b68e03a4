"""Names of fields: from what the page says to a short word for settings.toml.

The page says it by itemprop, classes, column headings and labels.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

_LONGEST = 30
_WORDS: tuple[tuple[str, str], ...] = (
    ("title", r"\w*title(?:line|link|text)?|headline|subject|heading|titel|titre|titulo|titolo|betreff|标题|主题|題名|件名|عنوان|заголовок|name|product-?name|caption|bezeichnung|nombre|nom|nome|naam|naziv|nazwa|название|наименование|名称|品名|商品名|اسم|الاسم|designation|beschrijving"),
    ("price", r"price|prices|preis|prix|precio|prezzo|preco|cost|amount|价格|價格|価格|السعر|цена"),
    ("date", (r"date|datetime|time|posted|posted-on|published|datepublished|pubdate|created|updated|modified|last-?modified|lastmod|age|"
              r"timestamp|datum|fecha|data|activity|when|day|日期|时间|日付|تاريخ|дата")),
    ("author", r"(?:first|last|user|nick|display|real|given|family|full)-?name|author|by|byline|poster|submitter|creator|user|username|owner|writer|sender|from|hnuser|autor|auteur|autore|作者|كاتب|автор"),
    ("description", r"description|desc|summary|excerpt|teaser|abstract|snippet|intro|lead|body|content|text|entry-content|beschreibung|描述|摘要"),
    ("stock", r"stock|availability|lagerstand|instock|in-stock|available|lager|bestand|verfugbarkeit|disponibilite|库存"),
    ("rating", r"rating|stars|star-rating|ratingvalue|bewertung|评分"),
    ("comments", r"comments?|num-?comments|commentcount|replies|answers|responses|kommentare|commentaires|评论"),
    ("score", r"score|points|votes?|upvotes|likes|karma"),
    ("views", r"views|hits|reads|visits|aufrufe"),
    ("category", r"category|categories|cat-links|topic|kategorie|categorie|rubrik|分类"),
    ("tags", r"tags?|keywords|labels?|badge"),
    ("status", r"status|state|zustand"),
    ("location", r"location|place|city|address|ort|lieu|adresse|region|地点"),
    ("company", r"company|employer|firma|organization|organisation|hiringorganization|公司"),
    ("salary", r"salary|basesalary|gehalt|lohn|薪资"),
    ("size", r"size|filesize|file-size|grosse|groesse|taille|tamano|length|大小"),
    ("version", r"version|release"),
    ("language", r"language|programminglanguage|lang|sprache|langue|idioma"),
    ("image", r"image|img|photo|picture|thumbnail|thumb|cover|poster|bild"),
    ("id", r"id|identifier|number|nr|no|nummer|编号|number"),
    ("sku", r"artikelnr|art-?nr|item-?no|part-?no|reference|referenz|ref|mpn|gtin\d*|isbn|asin|article-?number|artikelnummer"),
    ("area", r"area|surface|flache|superficie"),
    ("brand", r"brand|manufacturer|marke|hersteller|品牌"),
    ("rank", r"rank|position|place"),
    ("downloads", r"downloads?"),
    ("duration", r"duration|runtime|dauer"),
)
_PATTERNS = tuple((name, re.compile(rf"(?:{pattern})\Z")) for name, pattern in _WORDS)
_AFFIXES = re.compile(r"^(?:product|entry|post|item|article|card|job|thread|topic|news|list|book|js|u|c|o|p|the|box|field|fld|col|column|"
                      r"cell|td|s|is|has|dt|result|search|event|listing|story|message|msg|ticket|issue|bug|repo|file|video|user)[-_]+")
_ENDS = re.compile(r"[-_]+(?:color|text|value|label|link|links|wrapper|container|box|area|block|info|field|col|column|cell|line|inner|span|"
                   r"div|main|current|final|amount|url|href|src|name|content|html)$")


def slug(text: str) -> str:
    """Return a text as a name of letters, digits and underscores; "" if nothing of it can be written so."""
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss").replace("ø", "o").replace("ł", "l").replace("đ", "d"))
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", plain.encode("ascii", "ignore").decode())
    found = re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")
    found = "_".join(word for word in found[:_LONGEST * 2].split("_") if word)[:_LONGEST].rstrip("_")
    return f"n{found}" if found[:1].isdigit() else found


@lru_cache(maxsize=20_000)
def known(text: str) -> str:
    """Return the usual name of a field that a class, an itemprop or a heading names; "" if it is none of them."""
    said = unicodedata.normalize("NFKD", re.sub(r"(?<=[a-z])(?=[A-Z])", "-", text.strip())).lower()
    said = "".join(char for char in said if not unicodedata.combining(char))
    said = re.sub(r"[\s_:.]+", "-", said).strip("-")
    if "__" in text:
        said = said.rpartition("--")[2] or said
    tried = [said]
    for _ in range(3):
        without = _AFFIXES.sub("", tried[-1])
        shorter = _ENDS.sub("", without)
        if shorter == tried[-1]:
            break
        tried += [without, shorter]
    tried += [said.rpartition("-")[2], said.partition("-")[0]] if len(said) < _LONGEST else []
    for one in tried:
        for name, pattern in _PATTERNS:
            if pattern.match(one):
                return name
    return ""


def name_for(said: Iterable[str]) -> tuple[str, bool]:
    """Return the name for a field by what the page calls it, the best source first, and whether the name is a usual one."""
    texts = [text for text in said if text]
    for text in texts:
        if name := known(text):
            return name, True
    for text in texts:
        own = text.rpartition("__")[2].partition("--")[0] if "__" in text else text.rpartition("--")[2]
        if (name := slug(_AFFIXES.sub("", own))) and len(name) > 1:
            return name, False
    return "", False


def unused(name: str, taken: Iterable[str]) -> str:
    """Return the name, with a number if it is already taken."""
    known_names = set(taken)
    number, tried = 1, name
    while tried in known_names:
        number += 1
        tried = f"{name}{number}"
    return tried
