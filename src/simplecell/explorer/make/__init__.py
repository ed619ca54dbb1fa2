"""From a run to the files of its atlas."""
