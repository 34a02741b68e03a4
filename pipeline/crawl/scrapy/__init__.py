"""Everything that depends on internals of Scrapy or aiohttp: download handler, fast engine, response protocol."""
