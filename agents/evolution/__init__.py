"""Evolution strategies for the weights of any policy file, on final validation losses of whole runs."""
