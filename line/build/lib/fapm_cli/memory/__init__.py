"""The memory: vectors come in, keys and distances to the nearest of them go out.

``grid`` cuts each layer's map into patches (§2.1); every patch of every layer has a
``patch_memory`` of its own, and a ``metric`` (beyond the paper). The adaptive ``coreset`` picks its
keys (§2.2, Eq. 1), and ``search`` lets a patch's vectors meet the keys of that patch alone (§2.3),
by ``key_products``.
"""
