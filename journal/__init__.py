"""What happened, surviving power loss.

`Journal` is the one door (`journal.journal`).  `engine/` is the durable-execution library, liftable: it imports
nothing of ours.  `store` holds the only DuckDB writer; `outbox`, `samples` and `fault_graph` are built on it.
"""
