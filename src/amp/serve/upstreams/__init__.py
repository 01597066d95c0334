"""The servers behind the gateway: which are asked for a model, in what order, at what price."""
