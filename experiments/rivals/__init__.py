"""Other projects' gateways, unpatched, each in an environment of its own."""
