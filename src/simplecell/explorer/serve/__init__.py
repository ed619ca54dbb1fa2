"""From a request to its answer: a library of runs, without sockets but for `server`."""
