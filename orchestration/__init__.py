"""The control plane: what runs when and where, and what people look at."""
