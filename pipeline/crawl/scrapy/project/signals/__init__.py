"""The signals of Scrapy: what this program sends in its place, and what it learns from them."""
