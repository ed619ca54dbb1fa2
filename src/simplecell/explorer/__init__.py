"""Look at what was learned: a run becomes an atlas of files, and a local page shows them."""
