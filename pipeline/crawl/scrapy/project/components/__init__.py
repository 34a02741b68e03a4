"""The middlewares, extensions and download handlers of a Scrapy project, together with those of this program."""
