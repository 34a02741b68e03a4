"""One port that tells the truth: lines, datagrams and HTTP."""

from pipeline.heartbeat.access import Access, Token, kept_token, networks
from pipeline.heartbeat.connections.limits import Limits
from pipeline.heartbeat.from_settings import announce, heartbeat_of
from pipeline.heartbeat.http.actions import Desk
from pipeline.heartbeat.listeners import link, server_tls
from pipeline.heartbeat.notify.dead_man_switch import Outward, Switches
from pipeline.heartbeat.notify.systemd import Systemd
from pipeline.heartbeat.server import Heartbeat
from pipeline.heartbeat.snapshot.build import unreadable
from pipeline.heartbeat.snapshot.cache import Answers
from pipeline.heartbeat.snapshot.history import Past
from pipeline.heartbeat.snapshot.loop_health import Thresholds
from pipeline.heartbeat.snapshot.schema import SCHEMA, Snapshot
from pipeline.heartbeat.snapshot.write_probe import Probe

__all__ = ["SCHEMA", "Access", "Answers", "Desk", "Heartbeat", "Limits", "Outward", "Past", "Probe", "Snapshot", "Switches",
           "Systemd", "Thresholds", "Token", "announce", "heartbeat_of", "kept_token", "link", "networks", "server_tls",
           "unreadable"]
