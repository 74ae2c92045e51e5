"""Where shards of work run: one interface, submit a shard, get its committed record."""
