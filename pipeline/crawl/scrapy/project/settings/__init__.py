"""What becomes of the settings of a Scrapy project, and what is said about them."""
