"""Form and API logins: filling in, proving, expiry, and why a site refused."""
