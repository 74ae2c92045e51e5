"""Per-example gradients, G-Vendi and Prismatic selection."""
