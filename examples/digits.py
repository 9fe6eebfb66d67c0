"""Handwritten digits: many models, the best three, and an ensemble of them.

The data are the UCI digits that scikit-learn ships. Training is not deterministic: it is realized
twelve times, and a matcher keeps the three models that do best on data they have not seen.

    plxnix realize examples/digits.py:ensemble        # trains, then never again
    plxnix realize examples/digits.py:ensemble -a hidden=48 --dry-run
    plxnix export examples/digits.py:report --toolchain host -o default.nix
"""

from __future__ import annotations

import hashlib
import json
import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from plxnix import DRef, autostage, execute, fetchlocal, match_best, selfref

#: How many models are trained, and how many of them are kept.
RUNS = 12
KEPT = 3


def csv() -> DRef:
    """The data as they were published: a file known by its hash."""
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise SystemExit("this example needs scikit-learn: pip install 'plxnix[demo]'")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return fetchlocal(path=path, sha256=digest, mode="")


@autostage(source=csv, out=[selfref, "digits.npz"])
def digits(source: Any, out: Path, seed: int = 7) -> None:
    """Images of 8 x 8 pixels and what they show, split into 60 % to learn from and 2 x 20 %."""
    import numpy as np

    table = np.loadtxt(source.out, delimiter=",")
    order = np.random.default_rng(seed).permutation(len(table))
    learn, valid, test = np.split(table[order], [int(0.6 * len(table)), int(0.8 * len(table))])
    np.savez(out, learn=learn, valid=valid, test=test)


@autostage(
    nouts=RUNS,
    matcher=match_best("accuracy.txt", top=KEPT),
    data=digits,
    model=[selfref, "model.pickle"],
    curve=[selfref, "curve.json"],
    accuracy=[selfref, "accuracy.txt"],
)
def train(
    rindex: int, data: Any, model: Path, curve: Path, accuracy: Path, hidden: int = 16
) -> None:
    """One small neural network from a random start, and how it got better."""
    import numpy as np
    from sklearn.neural_network import MLPClassifier

    with np.load(data.out) as parts:
        learn, valid = parts["learn"], parts["valid"]
    network = MLPClassifier((hidden,), learning_rate_init=0.02)
    progress = []
    for _ in range(12):
        network.partial_fit(learn[:, :-1] / 16, learn[:, -1], classes=range(10))
        progress.append(network.score(valid[:, :-1] / 16, valid[:, -1]))
    model.write_bytes(pickle.dumps(network))
    curve.write_text(json.dumps(progress))
    accuracy.write_text(f"{progress[-1]:.4f}\n")
    print(f"run {rindex + 1:2} of {RUNS}: validation accuracy {progress[-1]:.4f}")


@autostage(data=digits, votes=[selfref, "votes.npz"], accuracy=[selfref, "accuracy.json"])
def vote(models: Any, data: Any, votes: Path, accuracy: Path) -> None:
    """What the kept models say together about the images that none of them has seen."""
    import numpy as np

    with np.load(data.out) as parts:
        test = parts["test"]
    images, truth = test[:, :-1] / 16, test[:, -1]
    # What is unpickled is what the stage above has just written.
    networks = [pickle.loads(one.model.read_bytes()) for one in models]  # noqa: S301
    chances = [network.predict_proba(images) for network in networks]
    said = np.mean(chances, axis=0).argmax(axis=1)
    scores = {
        "alone": [float((one.argmax(axis=1) == truth).mean()) for one in chances],
        "together": float((said == truth).mean()),
    }
    np.savez(votes, said=said, truth=truth)
    accuracy.write_text(json.dumps(scores, indent=1))


def ensemble(hidden: int = 16) -> DRef:
    """The best models of that size, voting."""
    return vote(models=train(hidden=hidden))


@autostage(out=[selfref, "digits.png"])
def plot(models: Any, votes: Any, out: Path) -> None:
    """How the kept models learned, and what the ensemble takes for what."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    scores = json.loads(votes.accuracy.read_text())
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for number, one in enumerate(models, start=1):
        left.plot(json.loads(one.curve.read_text()), label=f"model {number}", marker="o", ms=3)
    left.set(xlabel="pass over the data", ylabel="validation accuracy", title="The best three runs")
    left.grid(alpha=0.3)
    left.legend()
    with np.load(votes.votes) as parts:
        truth, said = parts["truth"].astype(int), parts["said"].astype(int)
    table = np.zeros((10, 10), int)
    np.add.at(table, (truth, said), 1)
    right.imshow(np.sqrt(table), cmap="Blues")
    for row, column in np.argwhere(table):
        shade = "white" if row == column else "black"
        right.text(column, row, table[row, column], ha="center", va="center", color=shade, size=8)
    right.set(xlabel="taken for", ylabel="digit", xticks=range(10), yticks=range(10))
    right.set_title(f"The ensemble: {scores['together']:.1%} right")
    figure.savefig(out, dpi=120, metadata={"Software": None})
    plt.close(figure)


def report(hidden: int = 16) -> DRef:
    """A page with the plot and the figures: a command, so Nix can build it from the results."""
    models = train(hidden=hidden)
    votes = vote(models=models)
    picture = plot(models=models, votes=votes)
    return execute(
        name="digits-report",
        command=f"""
            mkdir "$out"
            cp {picture / "digits.png"} "$out/digits.png"
            {{
              echo '<!doctype html><title>Digits</title>'
              echo '<h1>Handwritten digits</h1><img src="digits.png" alt="learning curves">'
              echo "<p>{RUNS} models were trained; these were kept:</p><pre>"
              for model in $models; do echo "$(cat "$model/accuracy.txt")"; done
              echo '</pre><p>On the test data:</p><pre>'
              cat {votes / "accuracy.json"}
              echo '</pre>'
            }} > "$out/index.html"
        """,
        models=models,
    )
