"""The first page: a row for each spider, which changes while it is shown."""
