"""What the experiment folders share: data, networks, training, results and the configuration schema."""
