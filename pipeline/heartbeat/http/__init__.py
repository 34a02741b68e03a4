"""The HTTP side of the port: routes, authorization, pages, actions, metrics, Atom feeds."""
