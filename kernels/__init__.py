"""The inner loops: pure functions, no I/O; each fast one beside its plain reference."""
