"""Read the jobs of other programs, and Scrapy projects, and write them as spiders to a file of settings.d."""
