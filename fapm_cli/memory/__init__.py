"""The memory: vectors come in, keys and distances to the nearest of them go out.

``grid`` cuts each layer's map into patches (§2.1); every patch of every layer has a memory of its
own, laid out by ``pages``. The adaptive ``coreset`` picks its keys (§2.2, Eq. 1), and ``search``
lets a patch's vectors meet the keys of that patch alone (§2.3).
"""
