"""One test file per source file; the name of a test is the sentence it proves."""
