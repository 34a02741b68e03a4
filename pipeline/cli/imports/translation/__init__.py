"""Translate requests, selectors and paths of other programs into the tables of a spider."""
