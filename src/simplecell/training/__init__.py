"""How a model is moved: an objective, its gradient, a solver, and the trainer that loops.

`objective` (the table `TERMS`), `gradients` (exact over chunks), `lbfgs` and `adam`, `weights` (how
they begin), `steering` (schedules, `target_l0`), `prepared` (samples as the model sees them),
`trainer` (an iterator of records), `gradient_check`.
"""
