"""What was asked and what happened: recipes, sessions, and the directory that remembers them.

`recipe` and `schema` say what to do, `resolve` what the data choose, `build` makes what trains,
`begin` and `session` train it into a `directory` (written by `storage`), `trained` is what comes
out, `evaluate` judges it, `sweep` does many at once, `progress` tells of it.
"""


def __getattr__(name: str) -> object:
    if name == "Run":  # loaded when asked for: recipes and files need no torch
        from simplecell.run.directory import Run

        return Run
    raise AttributeError(f"module 'simplecell.run' has no attribute '{name}'")
