"""What goes through the gateway, kept to learn from: `writer` keeps it, `study` learns a policy."""
