"""From YAML files and a command line to a checked configuration."""
