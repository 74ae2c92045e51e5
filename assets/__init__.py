"""The asset graph: one module a stage, in the order that documents flow."""
