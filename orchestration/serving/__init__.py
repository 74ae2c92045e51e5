"""Models behind an HTTP server that speaks as OpenAI's does: `stemma serve`."""
