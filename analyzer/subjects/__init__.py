"""What is audited: one kind of input a file."""
