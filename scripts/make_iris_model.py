#!/usr/bin/env python3
"""Makes scripts/quickstart_model/iris: a small classifier saved by a real MLflow, with a signature.

It is the model of the quickstart and of the tests. The repository keeps it (a few KB), so that modelfs can be tried
without Python. Run this script again only to renew the model:

    python3 -m venv build/venv && build/venv/bin/pip install -r tests/e2e/requirements.txt
    build/venv/bin/python scripts/make_iris_model.py
"""

import pathlib
import shutil
import sys

import mlflow
import numpy
from mlflow.models import infer_signature
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

destination = pathlib.Path(__file__).resolve().parent / "quickstart_model" / "iris"


def main() -> None:
    features, species = load_iris(return_X_y=True, as_frame=True)
    model = LogisticRegression(max_iter=500, random_state=0).fit(features, species)
    example = features[:3]
    shutil.rmtree(destination, ignore_errors=True)
    destination.parent.mkdir(parents=True, exist_ok=True)
    mlflow.sklearn.save_model(
        model,
        path=str(destination),
        signature=infer_signature(example, model.predict(example)),
        input_example=example,
        serialization_format="skops",
        pip_requirements=[f"mlflow=={mlflow.__version__}"],
    )
    loaded = mlflow.pyfunc.load_model(str(destination))
    if not numpy.array_equal(loaded.predict(example), model.predict(example)):
        sys.exit("the saved model and the original predict different values")


if __name__ == "__main__":
    main()
