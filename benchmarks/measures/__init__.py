"""One module a measure: `measure(run)` gives the part of its JSON that is its own."""
