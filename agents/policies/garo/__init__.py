"""GARO: one gated recurrent unit watches a run and emits learning rate, momentum and weight decay of SGD."""
