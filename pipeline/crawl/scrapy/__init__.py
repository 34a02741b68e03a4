"""The code that depends on internals of Scrapy or aiohttp: download handler, engine, HTTP protocol."""
