"""What the end-to-end tests stand on: finding the peers, running the collector, reading what came out."""
