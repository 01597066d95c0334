"""The gateway: an HTTP server in front of a model that measures every call.

`app` is the web application, `gateway` what happens to one call, `exchange` the client's side of
it, `dialect` how the two APIs say the same things, `upstream` the server behind. `accounting` says
who may spend what, `accounts` has the budgets of keys in a file.
"""
