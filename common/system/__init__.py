"""What a process, a file and a machine do, whatever is computed."""
