"""The pages of the browser: contexts, cookies, web storage, steps, waits, and isolated scripts."""
