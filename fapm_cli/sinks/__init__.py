"""Sinks: records come in, and arrive at a message bus, a webhook, a database or a PLC.

A record is published once: it goes to a queue on disk, and is done with for whoever judges
pictures. A thread a sink takes it from there, in order, until the sink has it: at least once, with
an ``id`` by which a receiver tells doubles.

``delivery`` is the whole; ``queue`` is the disk; ``worker`` is one sink's thread; ``address`` reads
URLs and hides what is secret in them; ``sink`` is what a sink must do, and ``mqtt``, ``webhook``,
``database`` and ``opcua`` are those there are. A new one is a file here and a line in ``opening``.
"""
