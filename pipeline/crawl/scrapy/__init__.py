"""Everything that depends on internals of Scrapy or aiohttp: handler, engine, response protocol."""
