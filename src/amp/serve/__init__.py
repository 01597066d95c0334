"""The gateway: an HTTP server in front of models that measures and decides every call.

`app` is the web application, `gateway` the way in, `exchange` one request and its answer, and
`chats` what happens to a call: it is read (`dialects`), decided (`decide`), reserved (`accounts`),
sent to a server (`upstreams`), in its own API (`translate`), settled, and kept to learn from
(`traffic`). `page` shows what came of it. `in_process` is the same for a client of an SDK, without
a server.
"""
