"""Translation between the chat APIs, where an upstream does not speak the client's.

`meaning` is what all of them can say; `chat`, `messages` and `responses` read requests into it and
write it as theirs, the files with ``_answers`` do so with what comes back, whole or as a stream.
`fields` sees to it that no field goes unread, and `translation` puts a reader and a writer
together.
"""
