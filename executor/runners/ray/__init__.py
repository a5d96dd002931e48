"""Queries on a Ray cluster. Only this package imports ray.

Blocks lie in Ray's object store, and a worker or node that dies costs time, no rows. ``backend`` is what a session has
of a cluster, ``runner`` runs the stages of a query, ``gpus`` is what both know of GPUs.
"""
