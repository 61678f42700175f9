"""Services that come with cotyledon: each is an extra, and uses the public API only."""
