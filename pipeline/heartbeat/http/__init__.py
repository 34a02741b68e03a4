"""The HTTP side of the port: routes, authentication, pages, actions, metrics, Atom feeds."""
