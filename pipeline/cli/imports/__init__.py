"""Read jobs of other programs and Scrapy projects, and write them as spiders to settings.d."""
