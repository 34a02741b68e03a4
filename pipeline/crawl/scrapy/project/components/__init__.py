"""The middlewares, extensions and handlers of a Scrapy project, together with this program's."""
