"""Is it membership? A finished run of train_mint.py against references and controls, see `stage`."""
