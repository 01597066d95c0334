"""The gateway: an HTTP server in front of any model."""
