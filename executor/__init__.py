"""The executor: physical plans in, Arrow blocks out. Never sees SQL text."""
