"""The automated judge: rules first, then a language model whose word is verified."""
