"""The planner: SQL text and metadata in, plans out. Imports neither the executor nor any kernel library."""
