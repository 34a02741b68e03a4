"""Scrapy projects: their settings, spiders and components in a run of this program."""
