"""A transformer's step on the CPU for many rows at once, where no row's numbers depend on the rows beside it."""
