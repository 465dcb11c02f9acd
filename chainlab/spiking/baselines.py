"""Classical classifiers on the same data, without which an accuracy says little."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

from chainlab.errors import UsageError

Arrays = Mapping[str, Shaped[np.ndarray, "..."]]


def classical(
    train: Arrays, test: Arrays, *, seed: int = 0, most: int = 10_000, names: Sequence[str] | None = None
) -> Sequence[Mapping[str, Any]]:
    """Test accuracy of scikit-learn's classifiers on flattened examples.

    Args:
        train: Training examples `x` and labels `y`.
        test: Test examples and labels.
        seed: Of the randomised ones.
        most: Training examples that the support vector machine uses at most, the first ones: its time grows with
            their square. The others use all.
        names: Which of `SVM (RBF, C=10)`, `logistic regression` and `ExtraTrees`; None takes all.

    Returns:
        One row for each: `classifier`, `trained on` (examples), `test accuracy` and `seconds`.

    Raises:
        UsageError: A name is unknown.
    """
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    kernel = "SVM (RBF, C=10)"
    known: dict[str, Any] = {
        kernel: make_pipeline(StandardScaler(), SVC(C=10)),
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "ExtraTrees": ExtraTreesClassifier(300, random_state=seed),
    }
    rows: list[Mapping[str, Any]] = []
    for name in names or known:
        if name not in known:
            raise UsageError(f"unknown classifier {name!r}; choose among {', '.join(known)}")
        x, y = (np.asarray(train[key])[: most if name == kernel else None] for key in ("x", "y"))
        began = time.perf_counter()
        known[name].fit(x.reshape(len(x), -1), y)
        accuracy = known[name].score(np.asarray(test["x"]).reshape(len(test["x"]), -1), test["y"])
        seconds = time.perf_counter() - began
        rows.append(
            {
                "classifier": name,
                "trained on": len(x),
                "test accuracy": round(float(accuracy), 4),
                "seconds": round(seconds, 1),
            }
        )
    return rows
