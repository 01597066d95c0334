"""What each call is decided to get, and why: `desk` asks a policy, `base` has its protocol."""
