"""The HTTP part of the heartbeat: routes, authorization, pages, actions, metrics, Atom feeds."""
