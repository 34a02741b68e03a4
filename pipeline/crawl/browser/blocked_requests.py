"""What a rendered page does not load.

Images, fonts, media, style sheets and well-known trackers (`render.block`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pipeline.hosts import host_of

TRACKERS = frozenset((
    "2mdn.net", "adform.net", "adnxs.com", "adroll.com", "ads-twitter.com", "adsrvr.org", "amazon-adsystem.com", "amplitude.com", "analytics.google.com",
    "analytics.tiktok.com", "analytics.twitter.com", "app-measurement.com", "bat.bing.com", "bluekai.com", "bounceexchange.com", "branch.io",
    "casalemedia.com", "chartbeat.com", "chartbeat.net", "clarity.ms", "cloudflareinsights.com", "cnzz.com", "connect.facebook.net", "crazyegg.com",
    "criteo.com", "criteo.net", "demdex.net", "doubleclick.net", "everesttech.net", "fullstory.com", "google-analytics.com", "googleadservices.com",
    "googlesyndication.com", "googletagmanager.com", "googletagservices.com", "heap.io", "heapanalytics.com", "hm.baidu.com", "hotjar.com", "hotjar.io",
    "hs-analytics.net", "inspectlet.com", "krxd.net", "liadm.com", "luckyorange.com", "matomo.cloud", "mathtag.com", "mc.yandex.ru", "mixpanel.com",
    "moatads.com", "mouseflow.com", "mxpnl.com", "newrelic.com", "nr-data.net", "omtrdc.net", "openx.net", "outbrain.com", "plausible.io", "pubmatic.com",
    "px.ads.linkedin.com", "quantcount.com", "quantserve.com", "rlcdn.com", "rubiconproject.com", "scorecardresearch.com", "segment.com", "segment.io",
    "sharethis.com", "smartadserver.com", "snap.licdn.com", "statcounter.com", "taboola.com", "teads.tv", "tns-counter.ru", "top-fwz1.mail.ru",
    "yieldmo.com", "zemanta.com"))
"""Domains of services that measure visitors or show advertisements, and whose scripts build no content."""

_TYPES = {"images": "Image", "fonts": "Font", "media": "Media", "styles": "Stylesheet"}


def patterns(blocked: Collection[str]) -> list[dict[str, str]]:
    """Return the patterns of Fetch.enable (Chrome DevTools Protocol) for the requests that may have to be blocked.

    The pattern of a domain also matches URLs that contain it elsewhere: `is_blocked` decides.
    """
    found = [{"urlPattern": "*", "resourceType": kind} for name, kind in _TYPES.items() if name in blocked]
    if "trackers" in blocked:
        found += [{"urlPattern": f"*{domain}/*"} for domain in sorted(TRACKERS)]
    return found


def is_blocked(event: dict[str, Any], blocked: Collection[str], page_host: str) -> bool:
    """Return whether a request must be blocked. event: the event Fetch.requestPaused. page_host: the host of the page."""
    if any(name in blocked and event["resourceType"] == kind for name, kind in _TYPES.items()):
        return True
    return "trackers" in blocked and is_tracker(host_of(event["request"]["url"]), page_host)


def is_tracker(host: str, page_host: str) -> bool:
    """Return whether a host belongs to a domain of TRACKERS, and the page itself does not."""
    domain = _tracker_domain(host)
    return bool(domain) and _tracker_domain(page_host) != domain


def _tracker_domain(host: str) -> str:
    labels = host.split(".")
    return next((name for start in range(len(labels)) if (name := ".".join(labels[start:])) in TRACKERS), "")
