"""Jar, login and proxies of one spider: a requests.Session that persists."""

from pipeline.session.cookies.importers import read_cookies
from pipeline.session.cookies.jar import Jar
from pipeline.session.cookies.listing import CookieLine, describe
from pipeline.session.errors import translate
from pipeline.session.requests import PreparedStart, prepare
from pipeline.session.session import Session, open_session
from pipeline.session.shown import clean, shown_url

__all__ = ["CookieLine", "Jar", "PreparedStart", "Session", "clean", "describe", "open_session", "prepare",
           "read_cookies", "shown_url", "translate"]
