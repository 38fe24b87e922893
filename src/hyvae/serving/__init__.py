"""The HTTP service and its page: `hyvae serve`."""
