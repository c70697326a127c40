"""Pictures as Vega-Lite dictionaries, each with the sentence that says the same."""
