"""What becomes of each setting of Scrapy in a run.

Used, replaced by a key of settings.toml, or without effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple


class SettingUse(NamedTuple):
    """What becomes of a setting of Scrapy.

    kind: "used": as in Scrapy. "adopted": used, unless the spider's table in settings.toml has the key `key`. "replaced": the key
    `key` of settings.toml counts instead. "no effect": the setting is not used. why: the reason, or what else is to be known.
    """

    kind: Literal["used", "adopted", "replaced", "no effect"]
    key: str = ""
    why: str = ""

    @property
    def in_words(self) -> str:
        """The entry as the documentation shows it."""
        text = {"used": "used", "adopted": f"used, unless `{self.key}` is set", "replaced": f"`{self.key}` instead",
                "no effect": "without effect"}[self.kind]
        return f"{text}: {self.why}" if self.why else text


def _each(names: str, kind: Literal["used", "adopted", "replaced", "no effect"], key: str = "", why: str = "") -> dict[str, SettingUse]:
    return dict.fromkeys(names.split(), SettingUse(kind, key, why))


SETTING_TABLE: Mapping[str, SettingUse] = {
    **_each("ADDONS BOT_NAME DEFAULT_DROPITEM_LOG_LEVEL DEFAULT_ITEM_CLASS ITEM_PIPELINES ITEM_PIPELINES_BASE STATS_CLASS STATS_DUMP "
            "SPIDER_LOADER_CLASS SPIDER_LOADER_WARN_ONLY SPIDER_MODULES LOG_FORMATTER URLLENGTH_LIMIT CRAWLSPIDER_FOLLOW_LINKS", "used"),
    **_each("AWS_ACCESS_KEY_ID AWS_ENDPOINT_URL AWS_MAX_POOL_CONNECTIONS AWS_REGION_NAME AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_USE_SSL "
            "AWS_VERIFY GCS_PROJECT_ID FTP_PASSIVE_MODE FTP_PASSWORD FTP_USER", "used"),
    **_each("FEEDS FEED_EXPORTERS FEED_EXPORTERS_BASE FEED_EXPORT_BATCH_ITEM_COUNT FEED_EXPORT_ENCODING FEED_EXPORT_FIELDS FEED_EXPORT_INDENT "
            "FEED_FORMAT FEED_STORAGES FEED_STORAGES_BASE FEED_STORAGE_FTP_ACTIVE FEED_STORAGE_GCS_ACL FEED_STORAGE_S3_ACL FEED_STORE_EMPTY "
            "FEED_TEMPDIR FEED_URI FEED_URI_PARAMS", "used", why="relative paths are relative to the project's folder"),
    **_each("FILES_STORE FILES_STORE_GCS_ACL FILES_STORE_S3_ACL IMAGES_STORE IMAGES_STORE_GCS_ACL IMAGES_STORE_S3_ACL", "used",
            why="a file may be as large as `max_page_size`; digests attach only files of `Download`"),
    **_each("CLOSESPIDER_ERRORCOUNT CLOSESPIDER_ITEMCOUNT CLOSESPIDER_PAGECOUNT CLOSESPIDER_PAGECOUNT_NO_ITEM CLOSESPIDER_TIMEOUT "
            "CLOSESPIDER_TIMEOUT_NO_ITEM", "used", why="the run is then not complete, so no item is reported as gone"),
    **_each("DEPTH_LIMIT", "adopted", "max_depth"),
    **_each("DOWNLOAD_DELAY", "adopted", "delay"),
    **_each("CONCURRENT_REQUESTS_PER_DOMAIN", "adopted", "concurrency"),
    **_each("RETRY_TIMES", "adopted", "retries"),
    **_each("USER_AGENT", "adopted", "user_agent"),
    **_each("AUTOTHROTTLE_ENABLED", "adopted", "throttle"),
    **_each("AUTOTHROTTLE_DEBUG AUTOTHROTTLE_MAX_DELAY AUTOTHROTTLE_START_DELAY AUTOTHROTTLE_TARGET_CONCURRENCY DEPTH_PRIORITY "
            "DEPTH_STATS_VERBOSE DOWNLOAD_SLOTS CONCURRENT_REQUESTS DOWNLOADER_STATS DOWNLOAD_DELAY_JITTER RANDOMIZE_DOWNLOAD_DELAY", "used"),
    **_each("RETRY_ENABLED RETRY_EXCEPTIONS RETRY_GIVE_UP_LOG_LEVEL RETRY_HTTP_CODES RETRY_PRIORITY_ADJUST", "used",
            why="except for the statuses 429 and 503, after which the host is paused"),
    **_each("DEFAULT_REQUEST_HEADERS COOKIES_ENABLED HTTPERROR_ALLOWED_CODES HTTPERROR_ALLOW_ALL METAREFRESH_ENABLED REDIRECT_ENABLED "
            "REDIRECT_MAX_TIMES REDIRECT_PRIORITY_ADJUST REFERER_ENABLED REFERRER_POLICIES REFERRER_POLICY HTTPAUTH_DOMAIN HTTPAUTH_PASS "
            "HTTPAUTH_USER WARN_ON_GENERATOR_RETURN_VALUE", "used"),
    **_each("DOWNLOADER_MIDDLEWARES SPIDER_MIDDLEWARES", "used",
            why="merged by their numbers with those of this program, which take the places of some of Scrapy's"),
    **_each("EXTENSIONS", "used"),
    **_each("DOWNLOAD_HANDLERS", "used", why="a handler of the project for http or https does its own networking, see above"),
    **_each("DUPEFILTER_CLASS DUPEFILTER_DEBUG", "used", why="if the class is not Scrapy's own; after a kill it starts anew"),
    **_each("HTTPCACHE_ALWAYS_STORE HTTPCACHE_DBM_MODULE HTTPCACHE_DIR HTTPCACHE_ENABLED HTTPCACHE_EXPIRATION_SECS HTTPCACHE_GZIP "
            "HTTPCACHE_IGNORE_HTTP_CODES HTTPCACHE_IGNORE_MISSING HTTPCACHE_IGNORE_RESPONSE_CACHE_CONTROLS HTTPCACHE_IGNORE_SCHEMES "
            "HTTPCACHE_POLICY HTTPCACHE_STORAGE", "used", why="in addition to `revalidate`"),
    **_each("LOGSTATS_INTERVAL MEMDEBUG_ENABLED PERIODIC_LOG_DELTA PERIODIC_LOG_STATS PERIODIC_LOG_TIMING_ENABLED", "used"),
    **_each("MEMUSAGE_CHECK_INTERVAL_SECONDS MEMUSAGE_ENABLED MEMUSAGE_LIMIT_MB MEMUSAGE_WARNING_MB", "used", why="in addition to `memory_limit`"),
    **_each("TWISTED_REACTOR_ENABLED", "used", why="the reactor runs by default in runs of a project"),
    **_each("REACTOR_THREADPOOL_MAXSIZE", "used"),
    **_each("REQUEST_FINGERPRINTER_CLASS", "used", why="by HTTPCACHE and DUPEFILTER_CLASS; the frontier itself compares URLs"),
    # What protects the run, the site or this machine.
    **_each("ROBOTSTXT_OBEY", "replaced", "robots", "true by default"),
    **_each("ROBOTSTXT_PARSER ROBOTSTXT_USER_AGENT", "replaced", "robots"),
    **_each("DOWNLOAD_TIMEOUT", "replaced", "timeout", "the meta key download_timeout works"),
    **_each("DOWNLOAD_MAXSIZE DOWNLOAD_WARNSIZE", "replaced", "max_page_size", "the meta key download_maxsize works"),
    **_each("DOWNLOAD_VERIFY_CERTIFICATES", "replaced", "insecure_tls", "certificates are verified"),
    **_each("DOWNLOADER_CLIENTCONTEXTFACTORY DOWNLOADER_CLIENT_TLS_CIPHERS DOWNLOADER_CLIENT_TLS_METHOD DOWNLOADER_CLIENT_TLS_VERBOSE_LOGGING "
            "DOWNLOAD_TLS_MAX_VERSION DOWNLOAD_TLS_MIN_VERSION", "replaced", "insecure_tls"),
    **_each("HTTPPROXY_AUTH_ENCODING HTTPPROXY_ENABLED", "replaced", "proxy", "the meta key proxy works if `proxy` is not set"),
    **_each("LOG_LEVEL LOG_ENABLED", "replaced", "[logs] level"),
    **_each("MAIL_FROM MAIL_HOST MAIL_PASS MAIL_PORT MAIL_SSL MAIL_TLS MAIL_USER MEMUSAGE_NOTIFY_MAIL STATSMAILER_RCPTS", "replaced", "[mail]",
            "the service sends digests and alerts"),
    # What another part of this program does.
    **_each("SCHEDULER SCHEDULER_DEBUG SCHEDULER_DISK_QUEUE SCHEDULER_MEMORY_QUEUE SCHEDULER_PRIORITY_QUEUE SCHEDULER_START_DISK_QUEUE "
            "SCHEDULER_START_MEMORY_QUEUE", "no effect", why="requests wait in the frontier in the store"),
    **_each("JOBDIR", "no effect", why="the frontier is in the store, so a killed run is continued without it"),
    **_each("DOWNLOADER ITEM_PROCESSOR SCRAPER_SLOT_MAX_ACTIVE_SIZE", "no effect", why="pages are committed whole"),
    **_each("CONCURRENT_ITEMS", "no effect", why="the items of a page pass the pipelines one after another"),
    **_each("CONCURRENT_REQUESTS_PER_IP", "no effect", why="limits are per host, by CONCURRENT_REQUESTS_PER_DOMAIN"),
    **_each("COOKIES_DEBUG", "no effect", why="see `pipeline cookies show`"),
    **_each("COMPRESSION_ENABLED", "no effect", why="compressed bodies are always decoded"),
    **_each("DOWNLOAD_FAIL_ON_DATALOSS", "no effect", why="an incomplete body is always an error"),
    **_each("METAREFRESH_IGNORE_TAGS METAREFRESH_MAXDELAY", "no effect", why="refreshes are followed as browsers follow them"),
    **_each("DNSCACHE_ENABLED DNSCACHE_SIZE DNS_RESOLVER DNS_TIMEOUT TWISTED_DNS_RESOLVER DOWNLOAD_BIND_ADDRESS HTTP2_MAX_FRAME_SIZE "
            "HTTPX_HTTP2_ENABLED", "no effect", why="belongs to Scrapy's own download handlers"),
    **_each("DOWNLOADER_MIDDLEWARES_BASE SPIDER_MIDDLEWARES_BASE EXTENSIONS_BASE DOWNLOAD_HANDLERS_BASE", "no effect",
            why="use the setting without _BASE"),
    **_each("TWISTED_REACTOR ASYNCIO_EVENT_LOOP", "no effect", why="the reactor is always Twisted's asyncio reactor on uvloop"),
    **_each("REMOTE_CONTROL_ENABLED REMOTE_CONTROL_JOBS_DIR REMOTE_CONTROL_OUTPUT_MAX_BYTES REMOTE_CONTROL_TIMEOUT_DEFAULT "
            "REMOTE_CONTROL_TIMEOUT_MAX REMOTE_CONTROL_TRACEBACK_MAX_BYTES TELNETCONSOLE_ENABLED TELNETCONSOLE_HOST TELNETCONSOLE_PASSWORD "
            "TELNETCONSOLE_PORT TELNETCONSOLE_USERNAME", "no effect", why="it would let other programs execute code in the run"),
    **_each("LOG_FILE LOG_FILE_APPEND LOG_COLOR LOG_DATEFORMAT LOG_ENCODING LOG_FORMAT LOG_INSTALL_ROOT_HANDLER LOG_SHORT_NAMES LOG_STDOUT "
            "LOG_VERSIONS", "no effect", why="each run has its own log in data_dir"),
    **_each("COMMANDS_MODULE EDITOR FORCE_CRAWLER_PROCESS NEWSPIDER_MODULE SPIDER_CONTRACTS SPIDER_CONTRACTS_BASE TEMPLATES_DIR", "no effect",
            why="belongs to the command scrapy"),
}
"""Every setting in scrapy.settings.default_settings. Any other setting of a project belongs to its own components, and is passed on."""

HARMLESS = frozenset({"NEWSPIDER_MODULE", "COMMANDS_MODULE", "EDITOR", "TEMPLATES_DIR", "FORCE_CRAWLER_PROCESS", "SPIDER_CONTRACTS"})
"""Settings without effect that concern no run. A run's line does not mention them."""


def departures(given: Mapping[str, Any], ours: Mapping[str, Any], keys: Iterable[str]) -> Iterator[tuple[str, SettingUse]]:
    """Yield the settings of a project that are not used as in Scrapy, with what becomes of them.

    given: what the project sets. ours: the values of the run; a setting with the same value is not yielded. keys: the keys in the
    spider's table in settings.toml.
    """
    keys = frozenset(keys)
    for name in sorted(given):
        use = SETTING_TABLE.get(name)
        if use is None or use.kind == "used" or name in HARMLESS or given[name] == ours.get(name):
            continue
        if use.kind != "adopted" or use.key in keys:
            yield name, use


def departure_lines(found: Iterable[tuple[str, SettingUse]]) -> list[str]:
    """Return at most two sentences that name the settings of a project that are replaced, and those without effect."""
    found = list(found)
    replaced = [f"{name} ({use.key})" for name, use in found if use.kind != "no effect"]
    unused = [f"{name} ({use.why})" for name, use in found if use.kind == "no effect"]
    lines = []
    if replaced:
        lines.append(f"settings.toml is used instead of these Scrapy settings: {', '.join(replaced)}")
    if unused:
        lines.append(f"these Scrapy settings have no effect: {', '.join(unused)}")
    return lines
