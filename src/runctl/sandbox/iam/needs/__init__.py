"""Which permissions each call needs: pairs of action and resource, with the condition keys that come with them.

From the service authorization reference, one file a service; ``others.py`` is a table for the smaller ones.
"""
