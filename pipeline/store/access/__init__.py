"""API tokens, and the audit log of what people and scripts did."""
