"""The command line: one subcommand a file. The only place that prints or exits."""
