"""Items of shops in English and Chinese."""

from __future__ import annotations

from typing import Any

TITLES = ["A Light in the Attic", "Tipping the Velvet", "Soumission", "Sharp Objects", "Sapiens: A Brief History of Humankind",
          "The Requiem Red", "The Dirty Little Secrets of Getting Your Dream Job", "The Coming Woman", "The Boys in the Boat",
          "The Black Maria", "Starving Hearts", "Shakespeare's Sonnets", "Set Me Free", "Olio", "Mesaerion"]
CHINESE = ["三体：地球往事", "活着", "围城", "红楼梦（脂砚斋全评本）", "平凡的世界", "明朝那些事儿", "城南旧事", "边城", "骆驼祥子", "黄金时代"]
ABOUT = ("It's hard to imagine a world without this book. This now-classic collection of poetry and drawings celebrates "
         "its 20th anniversary with this special edition.")


def book(number: int, price: float) -> dict[str, Any]:
    return {"title": f"{TITLES[number % len(TITLES)]}{'' if number < len(TITLES) else f' ({number // len(TITLES) + 1})'}",
            "price": f"£{price:.2f}", "stock": "In stock", "url": f"https://books.example/catalogue/{number}/index.html",
            "about": ABOUT}


def chinese_book(number: int, price: float) -> dict[str, Any]:
    return {"书名": CHINESE[number % len(CHINESE)], "价格": f"¥{price:.2f}", "出版社": "人民文学出版社", "库存": "有货",
            "url": f"https://shop.example/items/{number}.html"}
