"""The optimizer's table of contents: every rule, in the order it runs, with the reason for its place."""

from __future__ import annotations

from planner.optimizer.aggregate_pushdown import aggregate_pushdown
from planner.optimizer.batch import Batch
from planner.optimizer.coarser_groups import coarser_groups
from planner.optimizer.common_subplans import common_subplans
from planner.optimizer.decorrelate import decorrelate
from planner.optimizer.eliminate_aggregates import eliminate_aggregates
from planner.optimizer.eliminate_joins import eliminate_joins
from planner.optimizer.empty_relations import empty_relations
from planner.optimizer.factor_disjunctions import factor_disjunctions
from planner.optimizer.infer_predicates import infer_predicates
from planner.optimizer.join_order.reorder import reorder_joins
from planner.optimizer.mark_to_semi import mark_to_semi
from planner.optimizer.merge_projects import merge_projects
from planner.optimizer.metadata_answers import metadata_answers
from planner.optimizer.outer_to_inner import outer_to_inner
from planner.optimizer.prune_columns import narrow_inputs, prune_columns
from planner.optimizer.push_filters import push_filters
from planner.optimizer.push_limits import drop_sorts, push_limits
from planner.optimizer.reduce_aggregates import reduce_aggregates
from planner.optimizer.reduce_probes import reduce_probes
from planner.optimizer.semi_joins import semi_joins
from planner.optimizer.share_joins import share_joins
from planner.optimizer.simplify import simplify
from planner.optimizer.single_to_outer import single_to_outer
from planner.optimizer.unwrap_subplans import unwrap_subplans

BATCHES = (
    Batch(
        "prepare",
        (
            simplify,  # first: every other rule looks for predicates in their simplest form
            factor_disjunctions,  # makes join conditions of what stood inside an OR
            coarser_groups,  # before filters sink into some groups, and while all still read one subplan
            unwrap_subplans,  # before filters sink, so that they sink into what was a CTE
            push_filters,  # the outer rows of a correlated subquery are then few, and joined
        ),
    ),
    Batch("decorrelate", (decorrelate,), removes_dependent_joins=True),
    Batch(
        "predicates",
        (
            mark_to_semi,  # joins that became narrower let more predicates pass
            single_to_outer,
            outer_to_inner,
            push_filters,
            infer_predicates,  # once predicates stand at the joins' inputs; what it adds sinks next round
            simplify,  # draws inferred and given ranges together
            empty_relations,  # where they exclude each other
        ),
        rounds=6,
    ),
    Batch(
        "shape",
        (
            drop_sorts,
            metadata_answers,
            eliminate_aggregates,
            eliminate_joins,
            share_joins,  # while a subquery's joins still look like its query's, which semi_joins changes
            semi_joins,
            common_subplans,  # before pruning makes equal subplans differ in the columns they read
            merge_projects,
            prune_columns,  # takes the Projects from between the joins
        ),
    ),
    Batch(
        "joins",
        (
            reduce_aggregates,  # adds semi joins, which reorder_joins moves to where they filter most
            reorder_joins,  # all that makes joins fewer, narrower or semi has run
            reduce_probes,  # which side is large is known now; the order is not to count its filter twice
            common_subplans,  # a query and its subquery that were reduced alike now read the same rows
            aggregate_pushdown,  # below the last join of the order
        ),
    ),
    Batch(
        "finish",
        (
            push_limits,
            merge_projects,
            narrow_inputs,  # last: it puts Projects between joins
        ),
    ),
)
