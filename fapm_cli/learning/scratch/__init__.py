"""Scratch: where what is too large for memory lies while a bank is learnt, and may be gone on from.

A :class:`~fapm_cli.learning.scratch.workspace.Workspace` holds all in memory; a
:class:`~fapm_cli.learning.scratch.folder.ScratchFolder` writes files. What is computed is the same.
"""
