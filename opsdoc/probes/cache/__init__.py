"""Caches: the hit rate now and why it is so, and whether the cache itself is well."""
