"""The memory: vectors come in, keys and distances to the nearest of them go out.

Maps are cut into grid patches (§2.1), the adaptive coreset picks each patch's keys (§2.2, Eq. 1),
and a patch's vectors meet the keys of that patch alone (§2.3).
"""
