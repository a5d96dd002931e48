"""Sources of rows, one file per format. Each implements ``planner.catalog.Table`` and adds ``scan`` (see base)."""
