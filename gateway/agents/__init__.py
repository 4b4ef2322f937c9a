"""The three kinds of agents: hard (one asset, no language model), soft (one question, no driver), wave (edges)."""
