"""Other programs' formats. Reads the model; knows nothing of probes and views."""
