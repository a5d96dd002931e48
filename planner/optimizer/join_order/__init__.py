"""Join ordering: a region of joins becomes a query graph, and the cheapest tree over it is built.

``region`` takes the joins apart, ``query_graph`` estimates sets of relations, ``dpccp`` and ``greedy``
search, ``reorder`` is the rule that puts them together.
"""

from planner.optimizer.join_order.reorder import reorder_joins

__all__ = ["reorder_joins"]
