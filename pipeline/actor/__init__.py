"""The work of one actor: a shard's clips decoded, tracked, and committed."""
