"""Stores: addresses come in, paths of what lies there go out, and its bytes, whole or not at all.

What lies on this machine stays a :class:`pathlib.Path`. Pictures in a bucket, on a server, in a
list of addresses or in a tar file get a :class:`fapm_cli.stores.stored.StoredPath`, which does what
the other stages ask of a path. A new kind of store is a subclass of
:class:`fapm_cli.stores.stored.Store`, and a line in :func:`fapm_cli.stores.locating.located`.
"""
