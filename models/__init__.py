"""Everything that learns and what runs it; a plain program: python -m models COMMAND."""
