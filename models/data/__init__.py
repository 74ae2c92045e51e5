"""From text and conversations to token batches."""
