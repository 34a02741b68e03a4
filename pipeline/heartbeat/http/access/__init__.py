"""Who may do what over HTTP: tokens, scopes, CSRF protection, rate limits and the audit log."""
