"""The batched inner trainer: many training runs at once, parameters stacked."""
