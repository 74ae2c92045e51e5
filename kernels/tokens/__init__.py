"""How tokens lie on disk: the shard format and the way back from a position to its document."""
