"""What is measured, found and cut in a page's bytes and text."""
