"""What a checkpoint says, read as data: nothing that it names is imported, and nothing of it is called.

`pickled` turns a pickle into inert records, `names` says which names it may hold, `container` finds pickles
and numbers in a file, `record` checks what it tells of the network, `rebuild` makes our own network of it.
"""
