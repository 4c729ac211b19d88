"""What people and agents read. Nothing here is ever an input of a decision."""
