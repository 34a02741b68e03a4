"""What a Scrapy project decides about single requests."""
