"""DQ-Transformer: probabilities of tokens, exact on every machine, for coding and for sampling."""
