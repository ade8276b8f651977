"""A campaign of hostile attempts against the scripts: `make torture`."""
