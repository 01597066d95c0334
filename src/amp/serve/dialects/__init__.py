"""The APIs that are measured: how each says what is asked for, what it cost and what went wrong."""
