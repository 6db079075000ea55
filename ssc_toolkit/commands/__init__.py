"""Commands of the command line, with one module for each, and functions that several commands use."""
