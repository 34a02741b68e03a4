"""One port that tells the truth: lines, datagrams and HTTP."""

from pipeline.heartbeat.access import Access, Token, kept_token, networks
from pipeline.heartbeat.desk import Desk
from pipeline.heartbeat.doors import link, server_tls
from pipeline.heartbeat.latest import Answers
from pipeline.heartbeat.limits import Limits
from pipeline.heartbeat.opening import announce, heartbeat_of
from pipeline.heartbeat.outward import Outward, Switches
from pipeline.heartbeat.past import Past
from pipeline.heartbeat.probe import Probe
from pipeline.heartbeat.server import Heartbeat
from pipeline.heartbeat.shape import SCHEMA, Snapshot
from pipeline.heartbeat.status import snapshot, unreadable
from pipeline.heartbeat.systemd import Systemd
from pipeline.heartbeat.vitals import Thresholds

__all__ = ["SCHEMA", "Access", "Answers", "Desk", "Heartbeat", "Limits", "Outward", "Past", "Probe", "Snapshot", "Switches",
           "Systemd", "Thresholds", "Token", "announce", "heartbeat_of", "kept_token", "link", "networks", "server_tls",
           "snapshot", "unreadable"]
