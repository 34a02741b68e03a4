"""Sessions: the cookie jar, the proxies and the login of each spider, kept between runs."""

from pipeline.session.cookies.importers import read_cookies
from pipeline.session.cookies.jar import Jar
from pipeline.session.cookies.listing import CookieLine, describe
from pipeline.session.errors import translate
from pipeline.session.from_settings import open_session
from pipeline.session.login.session_login import UNCHECKABLE
from pipeline.session.requests import PreparedStart, prepare
from pipeline.session.session import Session
from pipeline.session.web_storage import describe_storage

__all__ = ["UNCHECKABLE", "CookieLine", "Jar", "PreparedStart", "Session", "describe", "describe_storage", "open_session", "prepare",
           "read_cookies", "translate"]
