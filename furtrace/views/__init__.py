"""Tables, lines and screens for the terminal. Reads the model; knows nothing of probes."""
