"""The sparsity penalty is a divergence, not a distance.

KL(p, q) compares the wanted activation of a latent with its actual one. It is zero where they
agree and grows without bound towards 0 and 1. You will see that it is no metric: exchanging p and
q changes it, and the way over a third point can be shorter than the direct one. Its square root
fails in the same way. As a penalty it needs neither: p is fixed, and only q moves.
"""

import sys
from pathlib import Path

from simplecell import viz
from simplecell.model.measures import kl_bernoulli


def main(folder: Path) -> dict[str, float]:
    folder.mkdir(parents=True, exist_ok=True)

    def kl(p: float, q: float) -> float:
        return float(kl_bernoulli(p, q))

    print("wanted activation 0.2: penalty in nats for an actual one of")
    for actual in (1e-9, 1e-3, 0.1, 0.2, 0.3, 0.9, 0.999, 1 - 1e-9):
        print(f"  {actual:<12.10g} {kl(0.2, actual):8.4f}")

    p, q, r = 0.5, 0.1, 0.01
    direct, first, second = kl(p, r), kl(p, q), kl(q, r)
    print("\nnot symmetric:")
    print(f"  KL({p}, {q}) = {first:.3f}   KL({q}, {p}) = {kl(q, p):.3f}")
    print("no triangle inequality:")
    print(f"  KL({p}, {r}) = {direct:.3f}, but by way of {q}: {first:.3f} + {second:.3f}")
    print(f"  of the square roots: {direct**0.5:.3f}, by way of {q}: ", end="")
    print(f"{first**0.5:.3f} + {second**0.5:.3f}")

    viz.save_figure(viz.kl(kl_bernoulli, target=0.2), folder / "06_kl.png")
    return {
        "at_target": kl(0.2, 0.2),
        "forward": first,
        "backward": kl(q, p),
        "direct": direct,
        "detour": first + second,
        "direct_root": direct**0.5,
        "detour_root": first**0.5 + second**0.5,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "pictures"))
