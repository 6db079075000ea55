"""Commands of the command line, with one module per command, and functions that several commands use."""
