"""What a worker does to one shard of the crawl: plain functions, no dagster inside."""
