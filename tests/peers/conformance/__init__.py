"""The conformance table, the recorded answers, and the list of deliberate differences."""
